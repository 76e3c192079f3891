using System.Runtime.InteropServices;

namespace FedRLora.Training.Devices;

/// <summary>
/// A device had no memory for what it was given. Nothing smaller is tried instead: what trains in one pass decides the bits, and how much
/// memory is free is no part of a fingerprint.
/// </summary>
public sealed class OutOfDeviceMemoryException : Exception
{
    // Of CUDA's allocator and of the processor's.
    private static readonly string[] Words = ["out of memory", "can't allocate memory", "not enough memory", "STATUS_ALLOC_FAILED"];

    private OutOfDeviceMemoryException(string device, ExternalException exception)
        : base($"{device} has no memory left for this: {FirstLineOf(exception)}; training needs less with a smaller training.batchSize, "
            + "training.passMemoryMb or training.maxTokens, or with training.activationCheckpointing: true, a base with model.storage: "
            + "bfloat16", exception)
    {
    }

    /// <summary>What libtorch threw in one line, without the frames of C++ that follow it, or as a lack of memory.</summary>
    /// <param name="exception">Of libtorch.</param>
    /// <param name="device">Where it computed.</param>
    internal static Exception From(ExternalException exception, string device) =>
        Words.Any(word => exception.Message.Contains(word, StringComparison.OrdinalIgnoreCase))
            ? new OutOfDeviceMemoryException(device, exception) : new InvalidOperationException(FirstLineOf(exception), exception);

    private static string FirstLineOf(ExternalException exception) => exception.Message.Split('\n')[0].Trim(' ', '.', '\r');
}
