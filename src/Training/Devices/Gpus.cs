using System.Runtime.InteropServices;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training.Devices;

/// <summary>Whether the GPUs that somebody asks for are there and compute what they should.</summary>
public static class Gpus
{
    /// <summary>Variables by which products are computed in TF32, to three digits; some images of PyTorch set one.</summary>
    internal static IReadOnlyList<string> Narrowing { get; } = ["NVIDIA_TF32_OVERRIDE", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE"];

    /// <summary>Why one of the devices cannot be trained on, in a line; null where all can. Of a processor it asks nothing.</summary>
    /// <param name="names">As <see cref="DeviceNames.Parse"/> gives them.</param>
    public static string? Problem(IReadOnlyList<string> names) =>
        names.Select(static name => ProblemOf(name)).FirstOrDefault(static problem => problem is not null);

    /// <summary>Those that libtorch finds, each as a person wants to know it.</summary>
    internal static IEnumerable<(string Name, string Shown)> Found
    {
        get
        {
            var count = cuda.is_available() ? cuda.device_count() : 0;
            for (var number = 0; number < count; number++)
            {
                var name = $"cuda:{number}";
                yield return (name, $"{name} ({Shown(number)})");
            }
        }
    }

    private static string? ProblemOf(string name)
    {
        if (DeviceNames.NumberOfGpu(name) is not { } number) return null;
        if (!cuda.is_available())
        {
            return Libtorch.IsForGpus
                ? $"{name}: libtorch {Libtorch.Version} finds no GPU; nvidia-smi says what the driver shows, and CUDA_VISIBLE_DEVICES may "
                    + "hide it"
                : $"{name}: libtorch {Libtorch.Version} is a build for the processor alone; for a program without a libtorch of its own "
                    + $"{Libtorch.Variable} names one for CUDA, such as that of PyTorch's wheel";
        }

        var count = cuda.device_count();
        if (number >= count) return $"{name}: libtorch finds {count}, the last of them cuda:{count - 1}";
        try
        {
            _ = Gpu.Of(number);
            Determinism.Require(device(name));
        }
        catch (Exception e) when (e is InvalidOperationException or DllNotFoundException or EntryPointNotFoundException)
        {
            return $"{name}: {e.Message.ReplaceLineEndings(" ")}";
        }

        var wrong = KnownAnswers.Wrong(device(name));
        if (wrong.Count == 0) return null;
        var set = Narrowing.Where(static variable => Environment.GetEnvironmentVariable(variable) is { Length: > 0 }).ToList();
        return $"{name}: does not compute what it should: {string.Join("; ", wrong)}"
            + (set.Count == 0 ? "" : $"; {string.Join(" and ", set)} lets it compute in TF32: unset it");
    }

    private static string Shown(int number)
    {
        try
        {
            var gpu = Gpu.Of(number);
            return FormattableString.Invariant(
                $"{gpu.Name}, compute capability {gpu.Major}.{gpu.Minor}, {Gpu.FreeBytes(number) / (double)(1 << 30):0.0} GiB free");
        }
        catch (Exception e) when (e is InvalidOperationException or DllNotFoundException or EntryPointNotFoundException)
        {
            return e.Message.ReplaceLineEndings(" ");
        }
    }
}
