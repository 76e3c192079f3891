using FedRLora.Abstractions.Plans;
using FedRLora.Training.Adapters;
using FedRLora.Training.Models;
using FedRLora.Training.Steps;
using FedRLora.Training.Tests.Gguf;
using TorchSharp;
using Xunit.Abstractions;
using static TorchSharp.torch;

namespace FedRLora.Training.Tests.Models;

/// <summary>
/// Every form that the matrices of a base can have in memory: the model is that of the numbers that the form stands for, and training
/// over it has that model's gradients.
/// </summary>
[Collection(nameof(RealModels))]
public sealed class WeightStorageTests(RealModels models, ITestOutputHelper output)
{
    private const float Away = 0.02f;
    private const double LeastShare = 1e-3;

    private static readonly WeightStorage[] Forms = [WeightStorage.Float16, WeightStorage.Bfloat16, WeightStorage.Int8, WeightStorage.Nf4];

    public static TheoryData<string, WeightStorage> Families => Each(ModelRegistry.ModelTypes);

    /// <summary>Models of the shared folder: folders and GGUF files, the smaller first.</summary>
    public static TheoryData<string, WeightStorage> Models => Each(SharedFolder.Root is null ? [] :
    [
        .. SharedFolder.FoldersOf("models").Where(static name => File.Exists(SharedFolder.Of("models", name, "config.json")))
            .Select(static name => $"models/{name}"),
        .. GgufFixtures.Models.Cast<object[]>().Select(static row => row[0] + ".gguf"),
    ]);

    public static TheoryData<string, WeightStorage> Real
    {
        get
        {
            var all = new TheoryData<string, WeightStorage>();
            if (SharedFolder.Root is null) return all;
            foreach (var name in RealModels.Names.Cast<object[]>().Select(static row => (string)row[0]))
            {
                all.Add(name, WeightStorage.Int8);
                all.Add(name, WeightStorage.Nf4);
            }

            return all;
        }
    }

    [Theory, MemberData(nameof(Families))]
    public void A_family_in_a_form_computes_with_the_numbers_of_the_form(string family, WeightStorage storage)
    {
        using var scope = NewDisposeScope();
        using var floats = TinyLlama.Create(TinyModels.Configs[family]);
        using var stored = StoredModel.Tiny(storage, TinyModels.Configs[family]);
        AssertIs(floats, stored, storage);
        AssertComputesAlike(stored, [false, true]);
    }

    [SharedTheory, MemberData(nameof(Models))]
    public void A_model_of_a_file_in_a_form_computes_with_the_numbers_of_the_form(string place, WeightStorage storage)
    {
        using var scope = NewDisposeScope();
        using var floats = ModelRegistry.Load(SharedFolder.Of(place), CPU, WeightStorage.Float32);
        using var stored = ModelRegistry.Load(SharedFolder.Of(place), CPU, storage);
        AssertIs(floats, stored, storage);
        AssertComputesAlike(stored, [false, true]);
    }

    [SharedTheory, MemberData(nameof(Real))]
    public void A_real_model_in_a_form_computes_with_the_numbers_of_the_form(string name, WeightStorage storage)
    {
        using var scope = NewDisposeScope();
        using var stored = ModelRegistry.Load(RealModels.FileOf(name)!, CPU, storage);
        AssertIs(models.Model(name), stored, storage);
        AssertComputesAlike(stored, [false], absolute: 3e-4); // as the reference allows
    }

    private static AdapterSpec Spec => TinyFederation.TinyCatalogue("lora") with { Dropout = Dropout.None };

    private static TheoryData<string, WeightStorage> Each(IEnumerable<string> names)
    {
        var all = new TheoryData<string, WeightStorage>();
        foreach (var name in names)
            foreach (var form in Forms) all.Add(name, form);
        return all;
    }

    // Matrices as the form has them, what is no matrix to the bit as stored, and bytes as few as the form takes.
    private static void AssertIs(CausalLanguageModel floats, CausalLanguageModel stored, WeightStorage storage)
    {
        foreach (var layer in stored.AdaptableLayers)
        {
            using var scope = NewDisposeScope();
            var (expected, actual) = (StoredModel.Rounded(floats.WeightOf(layer), layer.Kind, storage), stored.WeightOf(layer));
            Assert.True(expected.eq(actual.to(ScalarType.Float32)).all().item<bool>(), $"{layer.Module} in {storage}");
        }

        var matrices = stored.AdaptableLayers.Select(static layer => layer.Module + ".weight").ToHashSet(StringComparer.Ordinal);
        foreach (var (name, _) in ModelRegistry.ExpectedParameters(stored.Config))
        {
            if (!matrices.Contains(name)) Assert.True(floats.Parameters[name].eq(stored.Parameters[name]).all().item<bool>(), name);
        }

        Assert.Contains(storage.ToString(), stored.StoredBytes.Keys, StringComparer.OrdinalIgnoreCase);
    }

    // Products by tiles and products whole round differently in the last bits: where attention is saturated or sees equal tokens, its
    // gradients are differences of what is not small, and as accurate as that.
    private void AssertComputesAlike(CausalLanguageModel stored, bool[] withCheckpoints, double absolute = 1e-4)
    {
        using var floats = StoredModel.AsFloats(stored);
        using var workspace = new Workspace(CPU, ScalarType.Float32);
        var packing = Packing.Of(Autograd.Ragged, CPU);
        var layout = StackedMembers.LayoutOf(Spec, stored);
        using var members = new StackedMembers(layout, stored, [0, 1, 2], away: Away);
        using var others = new StackedMembers(layout, floats, [0, 1, 2], away: Away);
        var furthest = 0.0;
        using (no_grad())
        {
            using var scope = NewDisposeScope();
            var ids = TinyLlama.Ids([.. StackedMembers.Row(12).Ids.Select(static id => (long)id)]);
            Tensor Logits(CausalLanguageModel model) => model.LogitsOf(model.Hidden(ids, null, null), null);
            output.WriteLine($"logits: {Close.Assert(
                TensorData.Values(Logits(floats)), TensorData.Values(Logits(stored)), "logits", absolute):E2}");
        }

        foreach (var checkpoints in withCheckpoints)
        {
            using var scope = NewDisposeScope();
            members.Stack.ZeroGradients();
            others.Stack.ZeroGradients();
            var losses = PackedLoss.Gradients(stored, packing, members.Stack.Slice(0, 3), workspace, checkpoints);
            var expected = PackedLoss.Gradients(floats, packing, others.Stack.Slice(0, 3), workspace, checkpoints);
            for (var member = 0; member < 3; member++)
            {
                Close.AssertRelative(expected[member].item<float>(), losses[member].item<float>(), "loss");
                var trained = layout.Tensors.Where(static info => info.Trains).ToList();
                var least = LeastShare * trained.Max(info => others.Stack.GradientOf(member, info.Name)!.norm().item<float>());
                foreach (var info in trained)
                {
                    var (one, other) = (others.Stack.GradientOf(member, info.Name)!, members.Stack.GradientOf(member, info.Name)!);
                    Autograd.AssertClose(one, other, $"{info.Name} of member {member}", 1e-3, least);
                    furthest = Math.Max(furthest, (one - other).norm().item<float>() / Math.Max(least, one.norm().item<float>()));
                }
            }
        }

        output.WriteLine($"gradients, of their norm: {furthest:E2}");
    }
}
