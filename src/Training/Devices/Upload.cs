using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training.Devices;

/// <summary>What a step sends to its device.</summary>
internal static class Upload
{
    /// <summary>
    /// A tensor of the host on a device, without waiting for it: a GPU copies from pinned memory when its work comes to it, whereas from
    /// other memory libtorch waits until all work before has ended.
    /// </summary>
    public static Tensor To(this Device device, Tensor host) =>
        device.type == DeviceType.CUDA ? host.pin_memory().to(device, non_blocking: true) : host.to(device);
}
