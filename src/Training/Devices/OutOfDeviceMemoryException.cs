using System.Runtime.InteropServices;

namespace FedRLora.Training.Devices;

/// <summary>
/// A device had no memory for what it was given. Nothing smaller is tried instead: what trains in one pass decides the bits, and how much
/// memory is free is no part of a fingerprint.
/// </summary>
public sealed class OutOfDeviceMemoryException : Exception
{
    // Of CUDA's allocator and of the processor's.
    private static readonly string[] Words = ["out of memory", "can't allocate memory", "not enough memory"];

    private OutOfDeviceMemoryException(string device, ExternalException exception)
        : base($"{device} has no memory left for this: {exception.Message.Split('\n')[0].Trim(' ', '.')}; less is needed with a smaller "
            + "training.batchSize, training.passMemoryMb or training.maxTokens, or with training.activationCheckpointing: true", exception)
    {
    }

    /// <summary>What libtorch threw, or that as a lack of memory.</summary>
    /// <param name="exception">Of libtorch.</param>
    /// <param name="device">Where it computed.</param>
    internal static Exception From(ExternalException exception, string device) =>
        Words.Any(word => exception.Message.Contains(word, StringComparison.OrdinalIgnoreCase))
            ? new OutOfDeviceMemoryException(device, exception) : exception;
}
