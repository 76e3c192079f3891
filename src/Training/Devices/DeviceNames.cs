using System.Globalization;
using FedRLora.Abstractions;
using static TorchSharp.torch;

namespace FedRLora.Training.Devices;

/// <summary>
/// Devices as <c>--device</c> names them: <c>cpu</c>, parts of the processor as <c>cpu:0,cpu:1</c>, or GPUs as <c>cuda:0,cuda:1</c>.
/// </summary>
public static class DeviceNames
{
    private const int Most = 64;
    private const string Expected = "expected cpu, or several of one kind, as cuda:0,cuda:1 or cpu:0,cpu:1";

    /// <summary>The processor as a whole.</summary>
    public const string Cpu = "cpu";

    /// <summary>Reads a list of them.</summary>
    /// <param name="option">What it was given by, for messages.</param>
    /// <param name="text">Names with commas between.</param>
    /// <exception cref="BadInputException">One is none, stands twice or is of another kind; or this machine has no such one.</exception>
    public static IReadOnlyList<string> Parse(string option, string text)
    {
        string[] names = [.. text.Split(',').Select(static name => name.Trim())];
        if (names.FirstOrDefault(static name => !IsName(name)) is { } none)
            throw new BadInputException($"{option}: \"{BadInputException.Shown(none)}\" is no device; {Expected}");
        if (names.GroupBy(static name => name).FirstOrDefault(static same => same.Count() > 1) is { } twice)
            throw new BadInputException($"{option}: {twice.Key} stands twice; give each device once");
        if (names.Select(KindOf).Distinct().Count() > 1 || (names.Length > 1 && names.Contains(Cpu)))
            throw new BadInputException($"{option}: {text} are of several kinds, whose bits differ; {Expected}");
        if (names.Length > Most) throw new BadInputException($"{option}: {names.Length} devices; at most {Most}");
        if (KindOf(names[0]) != Cpu) RequireGpus(option, names);
        return names;
    }

    /// <summary>Where libtorch keeps the tensors of one.</summary>
    internal static Device DeviceOf(string name) => KindOf(name) == Cpu ? CPU : device(name);

    private static bool IsName(string name) =>
        name == Cpu || (name.Split(':') is [Cpu or "cuda", { Length: > 0 and <= 2 } number] && number.All(char.IsAsciiDigit)
            && (number.Length == 1 || number[0] != '0'));

    private static string KindOf(string name) => name.Split(':')[0];

    private static void RequireGpus(string option, string[] names)
    {
        var there = cuda.is_available() ? cuda.device_count() : 0;
        if (there == 0)
            throw new BadInputException($"{option}: {names[0]}: libtorch finds no GPU here: it is a build for the CPU, or there is no "
                + "driver; fedrlora doctor says what it found");
        if (names.FirstOrDefault(name => int.Parse(name.Split(':')[1], CultureInfo.InvariantCulture) >= there) is { } missing)
            throw new BadInputException($"{option}: there is no {missing}: libtorch finds {there}, cuda:0 to cuda:{there - 1}");
    }
}
