using System.Globalization;
using FedRLora.Abstractions;
using static TorchSharp.torch;

namespace FedRLora.Training.Devices;

/// <summary>
/// Devices as <c>--device</c> names them: <c>cpu</c>, parts of the processor as <c>cpu:0,cpu:1</c>, or GPUs by libtorch's names,
/// <c>cuda:0,cuda:1</c>.
/// </summary>
public static class DeviceNames
{
    private const int Most = 64;
    private const string Expected = "expected cpu, parts of it, as cpu:0,cpu:1, or GPUs, as cuda:0,cuda:1";
    private const string Cuda = "cuda";

    /// <summary>The processor as a whole.</summary>
    public const string Cpu = "cpu";

    /// <summary>Reads a list of them.</summary>
    /// <param name="option">What it was given by, for messages.</param>
    /// <param name="text">Names with commas between.</param>
    /// <exception cref="BadInputException">One is none, or stands twice.</exception>
    public static IReadOnlyList<string> Parse(string option, string text)
    {
        string[] names = [.. text.Split(',').Select(static name => name.Trim())];
        if (names.FirstOrDefault(static name => !IsName(name)) is { } none)
            throw new BadInputException($"{option}: \"{BadInputException.Shown(none)}\" is no device; {Expected}");
        if (names.GroupBy(static name => name).FirstOrDefault(static same => same.Count() > 1) is { } twice)
            throw new BadInputException($"{option}: {twice.Key} stands twice; give each device once");
        if (names.Length > 1 && names.Contains(Cpu))
            throw new BadInputException($"{option}: {text}: cpu is the whole processor, beside which there is no part of it; {Expected}");
        if (names.Select(KindOf).Distinct().Count() > 1)
            throw new BadInputException($"{option}: {text}: the processor and a GPU compute other bits; give devices of one kind");
        if (names.Length > Most) throw new BadInputException($"{option}: {names.Length} devices; at most {Most}");
        return names;
    }

    /// <summary>Where libtorch keeps the tensors of one.</summary>
    internal static Device DeviceOf(string name) => KindOf(name) == Cpu ? CPU : device(name);

    /// <summary>Which GPU a name means; null for the processor.</summary>
    internal static int? NumberOfGpu(string name) =>
        KindOf(name) == Cuda ? int.Parse(name.AsSpan(Cuda.Length + 1), CultureInfo.InvariantCulture) : null;

    private static bool IsName(string name) =>
        name == Cpu || (name.Split(':') is [Cpu or Cuda, { Length: > 0 and <= 2 } number] && number.All(char.IsAsciiDigit)
            && (number.Length == 1 || number[0] != '0'));

    private static string KindOf(string name) => name.Split(':')[0];
}
