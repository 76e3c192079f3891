using System.Runtime.CompilerServices;
using FedRLora.Training.Adapters;
using FedRLora.Training.Models;
using FedRLora.Training.Models.Weights;
using FedRLora.Training.Steps;
using FedRLora.Training.Tests.Models;
using FedRLora.Training.Tests.Trainer;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training.Tests.Gguf;

/// <summary>
/// What a model in a file's pages holds on to: mappings and tensors of the whole process, so nothing else runs meanwhile.
/// </summary>
[Collection(nameof(LeakTests))]
public sealed class GgufLeakTests
{
    public static TheoryData<string> Files => GgufFixtures.Models;

    [SharedFact]
    public void Fifty_loads_leave_no_mapping_and_no_tensor()
    {
        var models = Files.Cast<object[]>().Select(static row => GgufFixtures.Of((string)row[0], ".gguf")).ToList();
        Assert.NotEmpty(models);
        void Round()
        {
            foreach (var path in models)
            {
                using var scope = NewDisposeScope();
                using var inference = no_grad();
                using var model = ModelRegistry.Load(path, CPU);
                model.LogitsOf(model.Hidden(TinyLlama.Ids(1, 2, 3), null, null), null);
            }
        }

        Round(); // what a thread keeps for all products
        var before = Tensors();
        for (var loads = 0; loads < 50; loads += models.Count) Round();

        Assert.Equal(before, Tensors());
        Assert.All(models, static path => Assert.Equal(0, Mappings(path)));
    }

    /// <summary>But for those all in float32, which is copied.</summary>
    public static TheoryData<string> Mapped => [.. Files.Cast<object[]>().Select(static row => (string)row[0]).Where(static name =>
        GgufFixtures.Expected(name).GetProperty("types").EnumerateArray().Any(static type => type.GetString() != "F32"))];

    [SharedTheory, MemberData(nameof(Mapped))]
    public void A_layer_keeps_the_pages_it_reads_and_lets_go_of_them(string name)
    {
        var path = GgufFixtures.Of(name, ".gguf");
        var weight = Blocks(path);
        Collect(); // the model that nobody disposed of

        var widened = Widened(weight!);

        Assert.Equal(widened, Widened(weight!));
        Assert.Equal(1, Mappings(path));
        GC.KeepAlive(weight);
        weight = null;
        Collect();
        Assert.Equal(0, Mappings(path));
    }

    // Outside of the test's frame, whose variables live on in it.
    [MethodImpl(MethodImplOptions.NoInlining)]
    private static FrozenMatrix? Blocks(string path)
    {
        var source = ModelSource.At(path);
        var config = ModelConfig.Load(source);
        using var weights = source.OpenWeights();
        var matrix = ModelRegistry.LayersOf(config).Where(layer => weights.Names.Contains(layer.Module + ".weight"))
            .Select(layer => weights.Stored(layer.Module + ".weight", ShapeOf(layer), CPU))
            .FirstOrDefault(static matrix => matrix is GgmlMatrix);
        if (matrix is not null) _ = weights.TakePages();
        return matrix;
    }

    private static long[] ShapeOf(LinearShape layer) => layer.Kind is LayerKind.Embedding or LayerKind.Conv1D
        ? [layer.InWidth, layer.OutWidth]
        : [layer.OutWidth, layer.InWidth];

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static float[] Widened(FrozenMatrix weight)
    {
        using var scope = NewDisposeScope();
        return TensorData.Values(weight.Whole(ScalarType.Float32));
    }

    private static void Collect()
    {
        for (var i = 0; i < 3; i++)
        {
            GC.Collect();
            GC.WaitForPendingFinalizers();
        }
    }

    private static long Tensors()
    {
        Collect();
        return Tensor.TotalCount;
    }

    // The system names a file by the path without links, of which the shared folder may be one.
    private static int Mappings(string path)
    {
        var end = string.Join(Path.DirectorySeparatorChar, Path.GetFullPath(path).Split(Path.DirectorySeparatorChar)[^3..]);
        return File.ReadLines("/proc/self/maps").Count(line => line.EndsWith('/' + end, StringComparison.Ordinal));
    }
}
