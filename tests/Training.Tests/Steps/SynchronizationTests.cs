using FedRLora.Training.Kernels;
using FedRLora.Training.Models;
using FedRLora.Training.Models.Weights;
using FedRLora.Training.Steps;
using Mono.Cecil;
using TorchSharp;

namespace FedRLora.Training.Tests.Steps;

/// <summary>
/// No step waits for its device: nothing that a step can come to reads a value of a tensor, or asks for a shape that follows from values.
/// It is shown by the code, because on the CPU nothing can be seen of it, and libtorch's meta device, where reading throws, lacks the
/// functions of a step (index_select, where, abs and more are computed by shape in Python alone).
/// </summary>
public sealed class SynchronizationTests
{
    // Of TorchSharp, what copies to the host, or has a shape that the device has to say.
    private static readonly HashSet<string> Reading =
    [
        "item", "cpu", "data", "bytes", "get_bytes", "ReadCpuByte", "ReadCpuDouble", "ReadCpuSingle", "ReadCpuInt32", "ReadCpuInt64",
        "ReadCpuBool",
        "ToScalar", "ToSingle", "ToDouble", "ToInt32", "ToInt64", "ToBoolean", "ToByte", "op_Explicit", "ToString", "str", "jlstr",
        "npstr", "cstr",
        "print", "numpy", "tolist", "equal", "allclose", "is_nonzero", "nonzero", "nonzero_as_list", "argwhere", "masked_select", "unique",
        "unique_consecutive", "bincount", "synchronize", "save", "Save",
    ];

    // What runs in the host's memory alone, by the type that it belongs to, or the method.
    private static readonly HashSet<string> Host =
    [
        typeof(HostKernels).FullName!, typeof(HostAttention).FullName!, typeof(Training.Kernels.Memory).FullName!,
        typeof(Products<>).FullName!,
        typeof(BlockMatrix).FullName!, $"{typeof(StackBlock).FullName}.{nameof(StackBlock.Flat)}",
        $"{typeof(CausalLanguageModel).FullName}.CheckIds", $"{typeof(CausalLanguageModel).FullName}.CheckPadding",
    ];

    [Fact]
    public void Nothing_that_a_step_comes_to_reads_what_the_device_computed()
    {
        var calls = new ReachableCalls(typeof(GroupTraining).Assembly.Location).From(typeof(GroupTraining).FullName!, "Step", IsOfHost)
            .ToList();

        // What it looks through is a step: the optimizer, the loss, the layers of every family and the objectives are on the way.
        foreach (var passed in (string[])["Steps.AdamW.", "Steps.PackedLoss.", "Models.GatedDecoder.", "Models.Gpt2.", "Objectives.",
            "Gates."])
            Assert.Contains(calls, call => call.Way.Any(at => at.Contains(passed, StringComparison.Ordinal)));
        var reading = ReadingOf(calls).ToList();
        Assert.True(reading.Count == 0, string.Join('\n', reading));
    }

    [Fact]
    public void A_step_that_reads_a_value_is_found_wherever_it_does()
    {
        var itself = typeof(SynchronizationTests).Assembly.Location;
        string[] found =
        [
            .. ReadingOf(new ReachableCalls(itself).From(typeof(Steps).FullName!.Replace('+', '/'), nameof(Steps.Take), static _ => false))
                .Select(static line => line.Split(' ')[0].Replace("get_", "", StringComparison.Ordinal))
                    .Distinct().Order(StringComparer.Ordinal),
        ];

        Assert.Equal(["Tensor", "bytes", "cpu", "item", "nonzero"], found);
    }

    private static IEnumerable<string> ReadingOf(IEnumerable<(MethodReference Called, IReadOnlyList<string> Way)> calls) =>
        calls.Where(static call => IsReading(call.Called))
            .Select(static call => $"{call.Called.Name} in {string.Join(" from ", call.Way)}");

    private static bool IsReading(MethodReference called) => called.DeclaringType.FullName switch
    {
        "TorchSharp.torch/Tensor" or "TorchSharp.torch" or "TorchSharp.TensorExtensionMethods" or "TorchSharp.torch/cuda" =>
            Reading.Contains(called.Name),
        // A mask as an index has as many rows as are true.
        "TorchSharp.torch/TensorIndex" => called.Name == "Tensor"
            || (called.Name == "op_Implicit" && called.Parameters[0].ParameterType.FullName == "TorchSharp.torch/Tensor"),
        _ => false,
    };

    private static bool IsOfHost(MethodDefinition method) => Host.Contains($"{method.DeclaringType.FullName}.{method.Name}")
        || Host.Any(type => method.DeclaringType.FullName == type
            || method.DeclaringType.FullName.StartsWith($"{type}/", StringComparison.Ordinal));

    // A step with what a scan by the names of its own calls would miss: an interface, a delegate, an iterator, a disposal.
    private static class Steps
    {
        private static readonly Func<torch.Tensor, long> Delegated = static x => x.nonzero().shape[0];

        public static double Take(torch.Tensor x, IRule rule) => rule.Of(x) + Delegated(x) + Each(x).Sum() + Direct(x);

        private static int Direct(torch.Tensor x)
        {
            using var held = new Held(x);
            return x.bytes.Length;
        }

        private static IEnumerable<double> Each(torch.Tensor x)
        {
            yield return x.cpu().shape[0];
        }
    }

    private sealed class Held(torch.Tensor x) : IDisposable
    {
        public void Dispose() => x[torch.TensorIndex.Tensor(x)].Dispose();
    }

    private interface IRule
    {
        double Of(torch.Tensor x);
    }

    private sealed class ReadingRule : IRule
    {
        public double Of(torch.Tensor x) => x.item<double>();
    }
}
