using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Adapters;
using FedRLora.Training.Data;
using FedRLora.Training.Models;
using FedRLora.Training.Steps;
using FedRLora.Training.Tests.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training.Tests.Steps;

/// <summary>The hand-written backward passes beside libtorch's autograd over the plain operations, one member at a time.</summary>
public sealed class PackedLossTests : IDisposable
{
    private readonly DisposeScope _scope = NewDisposeScope();

    public static TheoryData<string, string> FamiliesAndMethods
    {
        get
        {
            var all = new TheoryData<string, string>();
            foreach (var family in ModelRegistry.ModelTypes)
                foreach (var method in AdapterCatalog.Methods.Keys) all.Add(family, method);
            return all;
        }
    }

    public static TheoryData<string> Families => TinyModels.Families;

    public void Dispose() => _scope.Dispose();

    [Theory, MemberData(nameof(FamiliesAndMethods))]
    public void Every_family_and_method_in_float32_and_float64(string family, string method)
    {
        var spec = TinyFederation.TinyCatalogue(method);
        // Both sides round, in an order that depends on the processor (AVX2 sums otherwise than AVX-512): float64 is the proof.
        AssertSame(TinyModels.Configs[family], spec, ScalarType.Float32, 3e-5);
        AssertSame(TinyModels.Configs[family], spec, ScalarType.Float64, 1e-10);
    }

    [Theory, MemberData(nameof(FamiliesAndMethods))]
    public void Checkpoints_give_the_same_bits(string family, string method)
    {
        using var scope = NewDisposeScope();
        using var model = TinyLlama.Create(TinyModels.Configs[family]);
        var spec = TinyFederation.TinyCatalogue(method);
        using var plainMembers = Members(model, spec, 2);
        using var checkpointedMembers = Members(model, spec, 2);
        var (plain, checkpointed) = (plainMembers.Stack, checkpointedMembers.Stack);
        using var workspace = new Workspace(CPU, ScalarType.Float32);
        var packing = Packing.Of([[Row(6), Row(6)], [Row(9)]], CPU);
        for (var step = 0; step < 2; step++) // the second step's masks come after the first's, whatever was computed twice
        {
            var losses = PackedLoss.Gradients(model, packing, plain.Slice(0, 2), workspace);
            var most = workspace.MostBytes;
            var again = PackedLoss.Gradients(model, packing, checkpointed.Slice(0, 2), workspace, checkpoints: true);
            Assert.Equal(losses.data<float>(), again.data<float>());
            AssertSameGradients(plain, checkpointed);
            Assert.True(workspace.MostBytes < most, $"{workspace.MostBytes} bytes with checkpoints, {most} without");
        }
    }

    [Theory, MemberData(nameof(Families))]
    public void A_base_in_half_precision_gives_what_the_rounded_weights_give(string family)
    {
        using var scope = NewDisposeScope();
        var (config, spec) = (TinyModels.Configs[family], TinyFederation.TinyCatalogue("lora") with { Dropout = Dropout.None });
        foreach (var dtype in (ScalarType[])[ScalarType.BFloat16, ScalarType.Float16])
        {
            using var half = TinyLlama.Create(config, dtype);
            using var rounded = ModelRegistry.Create(config, half.Parameters.ToDictionary(
                static entry => entry.Key, static entry => entry.Value.to(ScalarType.Float32).DetachFromDisposeScope(),
                StringComparer.Ordinal));
            using var workspace = new Workspace(CPU, ScalarType.Float32);
            using var storedMembers = Members(half, spec, 2);
            using var fullMembers = Members(rounded, spec, 2);
            var (stored, full) = (storedMembers.Stack, fullMembers.Stack);
            var packing = Packing.Of([[Row(6), Row(6)], [Row(9)]], CPU);
            foreach (var checkpoints in (bool[])[false, true])
            {
                Assert.Equal(
                    PackedLoss.Gradients(rounded, packing, full.Slice(0, 2), workspace, checkpoints).data<float>(),
                    PackedLoss.Gradients(half, packing, stored.Slice(0, 2), workspace, checkpoints).data<float>());
                AssertSameGradients(full, stored);
            }
        }
    }

    [Theory, MemberData(nameof(Families))]
    public void Sequences_of_any_length_in_one_pass(string family)
    {
        var spec = TinyFederation.TinyCatalogue("m-lora") with { Dropout = Dropout.None };
        AssertSame(TinyModels.Configs[family], spec, ScalarType.Float64, 1e-10, [[Row(3), Row(11), Row(7)], [Row(2)]]);
    }

    [Theory]
    [InlineData("sum", DropoutSite.Hidden)]
    [InlineData("mean", DropoutSite.Input)]
    [InlineData("softmax", DropoutSite.Input)]
    [InlineData("byTask", DropoutSite.Input)]
    [InlineData("byTask", DropoutSite.Hidden)]
    public void Every_mix_of_heads_with_every_dropout_and_twins(string routing, DropoutSite site)
    {
        foreach (var masks in Enum.GetValues<MaskSharing>())
        {
            var spec = TinyFederation.Routed(TinyFederation.TinyCatalogue("r-lora"), routing) with { Dropout = new(site, masks, 0.3) };
            AssertSame(TinyLlama.Config, spec, ScalarType.Float64, 1e-10);
            AssertSame(TinyLlama.Config, spec with { Start = Start.Exact }, ScalarType.Float64, 1e-10);
        }
    }

    [Theory]
    [InlineData("r-lora-federated", true)]
    [InlineData("m-lora", true)]
    [InlineData("r-lora", true)]
    [InlineData("lora", false)]
    public void Heads_that_all_members_have_in_common(string method, bool trainsB)
    {
        var spec = TinyFederation.TinyCatalogue(method)
            .With("B", heads => heads with { Seed = SeedPolicy.Common, Trains = trainsB, Init = Init.Gaussian(0.3) });
        AssertSame(TinyLlama.Config, spec, ScalarType.Float64, 1e-10);
    }

    [Theory]
    [InlineData("lm_head", "q_proj")]
    [InlineData("embed_tokens", "down_proj")]
    [InlineData("lm_head", "embed_tokens")]
    public void Adapters_on_the_embedding_and_the_LM_head(string first, string second) => AssertSame(
        TinyLlama.Config, TinyFederation.TinyCatalogue("lora") with { TargetModules = [first, second], Dropout = Dropout.None },
        ScalarType.Float64, 1e-10);

    [Fact]
    public void The_gradient_goes_through_layers_without_adapters() => AssertSame(
        TinyLlama.Config with { Layers = 4 },
        TinyFederation.TinyCatalogue("lora") with { LayersToTransform = [1], TargetModules = ["k_proj"] }, ScalarType.Float64, 1e-10);

    [Fact]
    public void Nothing_is_kept_below_the_first_adapter()
    {
        var spec = TinyFederation.TinyCatalogue("ffa-lora") with { LayersToTransform = [1], TargetModules = ["v_proj"] };
        AssertSame(TinyLlama.Config, spec, ScalarType.Float64, 1e-10);

        using var model = TinyLlama.Create();
        using var inference = no_grad();
        using var workspace = new Workspace(CPU, ScalarType.Float32);
        using var tape = new Tape(workspace);
        using var members = Members(model, spec, 1);
        var pass = new TapedPass(model, tape, workspace, Packing.Of([[Row(5)]], CPU), members.Stack.Slice(0, 1));
        var x = model.BeforeFinalNorm(pass);
        Assert.True(tape.Tracks(x));
        // A frame for each layer, and in the second: head, attention, o, sum and its frame, norm, gate, up, product, down, sum and its
        // frame.
        Assert.Equal(2 + 12, tape.Count);
    }

    private static void AssertSame(
        ModelConfig config, AdapterSpec spec, ScalarType dtype, double tolerance, IReadOnlyList<IReadOnlyList<EncodedRow>>? batches = null)
    {
        using var scope = NewDisposeScope();
        using var model = TinyLlama.Create(config, dtype);
        Autograd.AssertSame(model, StackedMembers.LayoutOf(spec, model), dtype, tolerance, batches);
    }

    private static void AssertSameGradients(AdapterStack expected, AdapterStack actual) => Assert.All(
        expected.Blocks.Zip(actual.Blocks),
        static pair => Assert.Equal(pair.First.Gradient.data<float>(), pair.Second.Gradient.data<float>()));

    private static StackedMembers Members(CausalLanguageModel model, AdapterSpec spec, int members) =>
        new(StackedMembers.LayoutOf(spec, model), model, [.. Enumerable.Range(0, members)]);

    private static EncodedRow Row(int length) => StackedMembers.Row(length);
}
