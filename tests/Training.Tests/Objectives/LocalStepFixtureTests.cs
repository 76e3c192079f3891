using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Adapters;
using FedRLora.Training.Models;
using FedRLora.Training.Objectives;
using FedRLora.Training.Steps;
using FedRLora.Training.Tests.Golden;
using static TorchSharp.torch;

namespace FedRLora.Training.Tests.Objectives;

/// <summary>
/// Rounds of FedProx and SCAFFOLD on quadratic losses: clients side by side in a stack, with our terms and plain SGD. Every parameter of
/// the reference is the A of a layer.
/// </summary>
public sealed class LocalStepFixtureTests
{
    public static TheoryData<string> Places => Fixtures.Of("method/openfedllm/fed_global/fedprox", "method/openfedllm/fed_global/scaffold");

    [SharedTheory, MemberData(nameof(Places))]
    public void Rounds_with_a_corrected_local_step_are_the_published(string place)
    {
        var (folder, name) = Fixtures.Split(place);
        using var numbers = new MethodNumbers(folder);
        double Value(string key) => numbers.Config.GetProperty(key).GetDouble();
        var isScaffold = name == "scaffold";
        Objective term = isScaffold ? new Objective.ControlVariates() : new Objective.Proximal(Value("prox_mu"));
        int[] samples = [.. numbers.Config.GetProperty("sample_counts").EnumerateArray().Select(static count => count.GetInt32())];
        var layers = numbers.Config.GetProperty("shapes").EnumerateArray().Select(static (shape, number) => new LinearShape(
            $"p{number}", shape.EnumerateArray().Aggregate(1, static (product, size) => product * size.GetInt32()), 1)).ToList();
        var plan = PlanOf(term, samples.Length);
        var layout = AdapterLayout.For(plan.Adapter, layers);
        var spec = new TrainingSpec { Optimizer = LocalOptimizer.Sgd, ClipNorm = 0 };
        var statistics = ObjectiveTerms.Vectors(plan, layout).ToList();
        Assert.Equal(isScaffold ? layers.Count : 0, statistics.Count);
        var shared = new AdapterState([
            .. layers.Select(layer => KeyValuePair.Create($"{layer.Module}.A", Row(numbers, $"initial.{layer.Module}"))),
            .. statistics.Select(static vector => KeyValuePair.Create(
                vector.Key, new NamedArray(vector.Value, new float[vector.Value[1]]))),
        ]);
        var kept = Enumerable.Repeat(AdapterState.Empty, samples.Length).ToArray();

        for (var round = 0; round < numbers.Config.GetProperty("rounds").GetInt32(); round++)
        {
            using var scope = NewDisposeScope();
            int[] present = isScaffold ? numbers.Present(name, round, samples.Length) : [.. Enumerable.Range(0, samples.Length)];
            var values = new AdapterState([
                .. shared.Where(static entry => !StatisticFamily.IsStatistic(entry.Key)),
                .. layers.Select(static layer => KeyValuePair.Create($"{layer.Module}.B", new NamedArray([1, 1, 1], [0]))),
            ]);
            var stack = new AdapterStack([.. present.Select(_ => new ClientAdapter(layout, values, null))], null, CPU, null);
            var terms = ObjectiveTerms.Of(new(plan, shared, stack, [.. present.Select(client => (plan.Clients[client], kept[client]))]));
            var optimizer = new Sgd(stack, spec);
            double[] rates = [.. present.Select(_ => Value("local_lr"))];
            for (var step = 0; step < numbers.Config.GetProperty("local_steps").GetInt32(); step++)
            {
                stack.ZeroGradients();
                foreach (var (member, client) in present.Index())
                {
                    foreach (var layer in layers)
                    {
                        Tensor Of(string what) => TensorData.OnDevice(Row(numbers, $"{what}.client{client}.{layer.Module}"), CPU);
                        var y = stack.TensorsOf(layout.Targets.Single(target => target.Module == layer.Module), "A", present.Length);
                        y.Gradient![member].copy_(Of("curvature") * (y.Value[member] - Of("target")));
                    }
                }

                foreach (var one in terms) one.AddGradients(present.Length);
                optimizer.Step(rates, headsOnly: false, isScaffold ? terms[0].Correct : null);
                foreach (var one in terms) one.Stepped(rates, headsOnly: false);
            }

            var updates = present.Select((_, member) => new AdapterState(stack.Member(member).State(static info => info.Trains).Select(
                entry => KeyValuePair.Create(entry.Key, Map(entry.Value, (i, after) => after - values[entry.Key].Data[i]))))).ToList();
            var ended = present.Select((_, member) => terms.Select(one => one.End(member, updates[member])).Single()).ToList();
            foreach (var (member, client) in present.Index()) kept[client] = ended[member].Remembered;
            shared = Aggregated(
                shared, updates, [.. present.Select(client => samples[client])], [.. ended.Select(static end => end.Statistics)],
                samples.Length);

            foreach (var layer in layers)
            {
                void Compare(string of, NamedArray actual)
                {
                    if (numbers.Names.Contains($"{name}.round{round}.{of}{layer.Module}"))
                        numbers.CompareOutput($"{name}.round{round}.{of}{layer.Module}", actual.Data);
                }

                Compare("", shared[$"{layer.Module}.A"]);
                foreach (var (member, client) in present.Index())
                {
                    Compare($"client{client}.", TensorArray(stack.Member(member), $"{layer.Module}.A"));
                    if (isScaffold) Compare($"control{client}.", kept[client][$"{layer.Module}.A.variate"]);
                }

                if (isScaffold) Compare("global_control.", shared[$"statistics/variates/{layer.Module}.A"]);
            }
        }
    }

    private static FederationPlan PlanOf(Objective term, int clients) => new()
    {
        Name = "fixture", Model = new() { Path = "model" },
        Adapter = (new AdapterSpec { Rank = 1, Dropout = Dropout.None, Objectives = [term] })
            .With("A", static a => a with { Scope = Scope.Job, Trains = true })
            .With("B", static b => b with { Scope = Scope.Client, Trains = false }),
        Clients = [.. Enumerable.Range(0, clients).Select(static client => TinyFederation.Client($"client{client}"))],
    };

    // Means by training rows; the sum of what variates changed over the number of all clients.
    private static AdapterState Aggregated(
        AdapterState shared, IReadOnlyList<AdapterState> updates, IReadOnlyList<int> samples, IReadOnlyList<AdapterState> statistics,
        int clients) => new(shared.Select(entry => KeyValuePair.Create(entry.Key, Map(entry.Value, (i, before) =>
            (float)(before + (StatisticFamily.IsStatistic(entry.Key)
                ? statistics.Sum(sent => (double)sent[entry.Key].Data[i]) / clients
                : updates.Zip(samples, (update, weight) => (double)update[entry.Key].Data[i] * weight).Sum() / samples.Sum()))))));

    private static NamedArray Row(MethodNumbers numbers, string name)
    {
        var data = numbers.Array(name).Data;
        return new([1, data.Length], data);
    }

    private static NamedArray Map(NamedArray array, Func<int, float, float> of) =>
        array with { Data = [.. array.Data.Select((value, i) => of(i, value))] };

    private static NamedArray TensorArray(PlacedAdapter adapter, string name) => adapter.State(info => info.Name == name)[name];
}
