using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Adapters;
using FedRLora.Training.Adapters.Algebra;
using FedRLora.Training.Models;
using FedRLora.Training.Tests.Golden;
using FedRLora.Training.Tests.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training.Tests.Adapters;

/// <summary>Starts that are computed from the frozen weight: once, and taken from the shared state ever after.</summary>
public sealed class WeightStartTests : IDisposable
{
    private readonly TinyFederation _tiny = new();
    private readonly DisposeScope _scope = NewDisposeScope();
    private readonly CausalLanguageModel _model = TinyLlama.Create();

    public static TheoryData<string> Folders => Fixtures.Of("method/peft/lora-start/*");

    private static string[] Laws => ["pissa", "olora", "svd", "subspace"];

    public void Dispose()
    {
        _model.Dispose();
        _scope.Dispose();
        _tiny.Dispose();
    }

    [SharedTheory, MemberData(nameof(Folders))]
    public void The_product_and_the_weight_without_it_match_the_reference(string place)
    {
        var fixture = Fixtures.Tree.All.Single(fixture => fixture.Place == place);
        using var numbers = new MethodNumbers(place);
        var law = fixture.Kind.EndsWith("pissa", StringComparison.Ordinal) ? InitLaw.Pissa : InitLaw.Olora;
        var (rank, scaling) = (numbers.Config.GetProperty("r").GetInt32(), numbers.Config.GetProperty("scaling").GetDouble());
        var weight = numbers.Tensor("weight_before");

        var (a, b) = WeightStarts.Factors(law, weight.to(ScalarType.Float64), scaling);
        var product = b.narrow(1, 0, rank).mm(a.narrow(0, 0, rank));

        numbers.CompareOutput("product", TensorData.Values(product));
        numbers.CompareOutput("weight_after", TensorData.Values(weight - product.mul(Living.Of(scaling))));
        // As an anchored start, which leaves the weight as it is and takes the product out of the layer.
        var layer = Anchored(law, rank, scaling, a.narrow(0, 0, rank), b.narrow(1, 0, rank));
        var (input, bias) = (numbers.Tensor("input"), numbers.Tensor("param.bias"));
        numbers.CompareOutput("output_before", TensorData.Values(layer.Forward(input, nn.functional.linear(input, weight, bias), null)));
    }

    [Theory, InlineData(5, 9), InlineData(9, 5)]
    public void Factors_are_leading_triples_with_signs_that_a_machine_cannot_choose(int outputs, int inputs)
    {
        using var generator = new Generator(3, CPU);
        var weight = randn([outputs, inputs], ScalarType.Float64, CPU, generator: generator);
        foreach (var law in (InitLaw[])[InitLaw.Pissa, InitLaw.Svd, InitLaw.Olora])
        {
            var (a, b) = WeightStarts.Factors(law, weight, scaling: 2);
            Assert.Equal([5, inputs], a.shape);
            Assert.Equal([outputs, 5], b.shape);
            Assert.True(b.mm(a).mul(Living.Of(law == InitLaw.Pissa ? 2 : 1)).allclose(weight, 1e-10, 1e-10), law.ToString());
            // The best of each rank: what is left of a weight is orthogonal to what was taken.
            var left = weight - b.narrow(1, 0, 2).mm(a.narrow(0, 0, 2)).mul(Living.Of(law == InitLaw.Pissa ? 2 : 1));
            if (law != InitLaw.Olora) Assert.True(b.narrow(1, 0, 2).t().mm(left).abs().max().item<double>() < 1e-10, law.ToString());
            // From the other sign the same factors come out, with the sign where only it can be.
            var (otherA, otherB) = WeightStarts.Factors(law, weight.neg(), scaling: 2);
            Assert.True(law == InitLaw.Olora ? otherA.allclose(a, 1e-10, 1e-10) : otherB.allclose(b, 1e-10, 1e-10), law.ToString());
        }
    }

    [Theory, MemberData(nameof(Scopes))]
    public async Task A_start_is_computed_once_and_every_client_takes_it_from_the_shared_state(string law, Scope scope, Start start)
    {
        var plan = _tiny.Plan(SpecOf(law, scope, start));
        using var trainer = _tiny.Trainer();
        var shared = await trainer.InitialSharedAsync(plan);
        var ofTask = await trainer.InitialOfTaskAsync(plan, plan.Clients[0].Task);
        var layout = StackedMembers.LayoutOf(plan.Adapter, _model);
        // Another machine's decomposition would differ: here nothing can be decomposed, and another start is given.
        var without = AdapterLayout.For(plan.Adapter, _model.AdaptableLayers);
        AdapterState Moved(AdapterState state) => new(state.Select(static entry => KeyValuePair.Create(
            entry.Key, entry.Value with { Data = [.. entry.Value.Data.Select(static value => value + 1)] })));
        shared = Moved(shared);

        var adapter = AdapterFactory.Of(plan, without, plan.Clients[0], new([.. shared, .. ofTask]), head: null);

        foreach (var tensor in layout.Tensors.Where(static tensor => tensor.Policy.Init.IsFromWeight))
        {
            var kept = $"{tensor.Target.Module}.{tensor.Role.Name}0";
            var isKept = layout.Constants.Any(constant => constant.Name == kept);
            Assert.Equal(scope != Scope.Job || start == Start.Anchored, isKept);
            if (scope == Scope.Client) Assert.Same(shared[kept], adapter.Values[tensor.Name]);
            if (start == Start.Anchored) Assert.Same(shared[kept], adapter.Start![tensor.Name]);
        }
    }

    public static TheoryData<string, Scope, Start> Scopes
    {
        get
        {
            var all = new TheoryData<string, Scope, Start>();
            foreach (var law in Laws)
                foreach (var scope in (Scope[])[Scope.Job, Scope.Task, Scope.Client])
                    all.Add(law, scope, law == "subspace" ? Start.Exact : Start.Anchored);
            return all;
        }
    }

    [Fact]
    public async Task A_frozen_start_that_all_share_lies_in_the_shared_state_once()
    {
        var plan = _tiny.Plan(SpecOf("svd", Scope.Job, Start.Anchored, trains: false));
        using var trainer = _tiny.Trainer();

        var shared = await trainer.InitialSharedAsync(plan);

        Assert.DoesNotContain(shared.Keys, static name => name.EndsWith('0'));
        var layout = AdapterLayout.For(plan.Adapter, _model.AdaptableLayers);
        var adapter = AdapterFactory.Of(plan, layout, plan.Clients[0], shared, head: null);
        Assert.All(layout.Tensors.Where(static tensor => tensor.Policy.Init.IsFromWeight),
            tensor => Assert.Same(shared[tensor.Name], adapter.Start![tensor.Name]));
    }

    [Fact]
    public async Task A_shared_state_without_the_start_is_refused_by_its_name()
    {
        var plan = _tiny.Plan(SpecOf("pissa", Scope.Client, Start.Anchored));
        using var trainer = _tiny.Trainer();
        var shared = await trainer.InitialSharedAsync(plan);
        var layout = AdapterLayout.For(plan.Adapter, _model.AdaptableLayers);
        var name = layout.Constants[0].Name;

        var message = Assert.Throws<BadInputException>(
            () => layout.Check(new(shared.Where(entry => entry.Key != name)), Scope.Job, "shared state")).Message;

        Assert.Equal($"shared state: tensor {name} is missing", message);
        layout.Check(new([.. shared, KeyValuePair.Create("statistics/balance", new NamedArray([1], [1f]))]), Scope.Job, "shared state");
    }

    private static AdapterSpec SpecOf(string law, Scope scope, Start start, bool trains = true)
    {
        var init = new Init(Enum.Parse<InitLaw>(law, ignoreCase: true));
        var spec = new AdapterSpec { Rank = 3, Start = start, Core = trains ? Core.None : new(CoreForm.Full), Dropout = Dropout.None };
        spec = spec.With("B", tensor => tensor with { Init = init, Scope = scope, Trains = trains });
        if (!trains) spec = spec.With("core", static core => core with { Init = Init.Gaussian(1e-5), Scope = Scope.Job });
        return law == "subspace"
            ? spec.With("A", static a => a with { Init = Init.Zero })
            : spec.With("A", tensor => tensor with { Init = init, Scope = scope, Trains = trains });
    }

    private static OneLayer Anchored(InitLaw law, int rank, double scaling, Tensor a, Tensor b) => new(
        new AdapterSpec { Rank = rank, Alpha = scaling * rank, Start = Start.Anchored, Dropout = Dropout.None }
            .WithEach(tensor => tensor with { Init = new(law) }),
        new("layer", (int)a.shape[1], (int)b.shape[0]),
        role => role == Roles.A ? a.to(ScalarType.Float32) : b.to(ScalarType.Float32).unsqueeze(0));
}
