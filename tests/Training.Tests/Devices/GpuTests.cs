using FedRLora.Training.Devices;
using FedRLora.Training.Lanes;
using FedRLora.Training.Tests.Trainer;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training.Tests.Devices;

/// <summary>What can be known of GPUs where there is none; the rest is for <c>eng/gpu-check.sh</c>.</summary>
[Collection(nameof(EngineReportTests.Alone))]
public sealed class GpuTests
{
    [Fact]
    public void A_processor_is_not_asked_and_a_GPU_that_is_not_there_is_told_with_the_reason()
    {
        Assert.Null(Gpus.Problem(["cpu:0", "cpu:1"]));
        var why = Libtorch.IsForGpus ? "finds" : "is a build for the processor alone; for a program without a libtorch of its own "
            + "FEDRLORA_LIBTORCH names one for CUDA, such as that of PyTorch's wheel";
        Assert.Matches($"^cuda:63: libtorch (\\S+ )?{why}", Gpus.Problem(["cuda:63"]));
        Assert.Equal(cuda.is_available() ? cuda.device_count() : 0, Gpus.Found.Count());
    }

    [Theory]
    [InlineData("NVIDIA H200", 9, 0, 132, "NVIDIA-H200/sm_90/132")]
    [InlineData("NVIDIA A100-SXM4-40GB MIG 1g.5gb", 8, 0, 14, "NVIDIA-A100-SXM4-40GB-MIG-1g.5gb/sm_80/14")]
    [InlineData("a; b", 12, 1, 1, "a--b/sm_121/1")]
    public void A_fingerprint_names_a_GPU_in_one_word(string name, int major, int minor, int processors, string mark) =>
        Assert.Equal(mark, new Gpu(name, major, minor, processors).Mark);

    /// <summary>The names of C++ are those of the library: whoever calls them elsewhere would end the process.</summary>
    [Fact]
    public void The_library_can_be_told_to_be_deterministic_and_not_to_be()
    {
        try
        {
            Assert.True(Determinism.Set(true));
            // No order of sums is given up on the way: a function without a deterministic form would throw.
            using var sums = zeros(2).scatter_add_(0, tensor(new long[] { 0, 1, 0 }), tensor(new[] { 1f, 2f, 3f }));
            Assert.Equal([4f, 2f], sums.data<float>().ToArray());
        }
        finally
        {
            Assert.True(Determinism.Set(false));
        }

        Assert.Equal(0, Libtorch.ExportOf("_ZN2at7Context3NOTEv"));
    }

    [Fact]
    public async Task Work_that_finds_no_memory_fails_with_what_would_need_less()
    {
        using var lanes = new DeviceLanes(CPU, lanes: 1);
        var failure = await Assert.ThrowsAsync<OutOfDeviceMemoryException>(
            () => lanes.RunAsync(new("run", 1, 0), static _ => zeros(1L << 50).shape[0], CancellationToken.None));

        Assert.StartsWith("cpu has no memory left for this: ", failure.Message, StringComparison.Ordinal);
        Assert.EndsWith("a base with model.storage: bfloat16", failure.Message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', failure.Message);
        // The lane goes on.
        Assert.Equal(1, (await lanes.RunAsync(new("run", 1, 0), static _ => 1, CancellationToken.None)).Result);
        var other = await Assert.ThrowsAsync<InvalidOperationException>(
            () => lanes.RunAsync(new("run", 1, 0), static _ => zeros(2, 3).mm(zeros(2, 3)).shape[0], CancellationToken.None));
        Assert.DoesNotContain('\n', other.Message);
    }
}
