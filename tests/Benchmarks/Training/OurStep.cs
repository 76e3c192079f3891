using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Adapters;
using FedRLora.Training.Data;
using FedRLora.Training.Kernels;
using FedRLora.Training.Models;
using FedRLora.Training.Objectives;
using FedRLora.Training.Steps;
using static TorchSharp.torch;

namespace FedRLora.Benchmarks.Training;

/// <summary>The product's training step for a group, put together as a round does; the one place here that knows its internals.</summary>
internal sealed class OurStep : IDisposable
{
    private readonly CausalLanguageModel _model;
    private readonly Workspace _workspace;
    private readonly bool _ownsWorkspace;
    private readonly ScalarType? _compute;
    private readonly List<Dictionary<string, LayerMasks>> _masks;
    private readonly AdapterStack _stack;
    private readonly AdamW _optimizer;
    private readonly List<IDisposable> _tensors = [];
    private readonly double[] _rates;

    /// <param name="model">The frozen base.</param>
    /// <param name="adapter">Of every member.</param>
    /// <param name="training">AdamW's settings.</param>
    /// <param name="members">How many train together.</param>
    public OurStep(CausalLanguageModel model, AdapterSpec adapter, TrainingSpec training, int members)
        : this(model, adapter, training, members, new Workspace(model.Device, model.Dtype), ownsWorkspace: true)
    {
    }

    private OurStep(
        CausalLanguageModel model, AdapterSpec adapter, TrainingSpec training, int members, Workspace workspace, bool ownsWorkspace)
    {
        (_model, _workspace, _ownsWorkspace, _compute) = (model, workspace, ownsWorkspace, ComputeUnits.TypeOf(training.Compute));
        _rates = [.. Enumerable.Repeat(training.LearningRate, members)];
        ClientSpec[] clients = [.. Enumerable.Range(0, members)
            .Select(static member => new ClientSpec { Id = $"c{member}", Task = "one", Data = new() { Train = "" } })];
        var plan = new FederationPlan
        {
            Name = "training", Seed = 1, Model = new() { Path = "" }, Clients = clients, Adapter = adapter, Training = training,
            Strategy = new(),
        };
        using var scope = NewDisposeScope();
        var layout = AdapterLayout.For(adapter, model.AdaptableLayers, new AdapterStart(null, () => model));
        AdapterState shared = new(layout.InitialShared(plan.Seed).Concat(ObjectiveTerms.Vectors(plan, layout).Select(
            static vector => KeyValuePair.Create(vector.Key, new NamedArray(vector.Value, new float[NamedArray.Count(vector.Value)])))));
        var ofTask = layout.Initial(plan.Seed, null, static tensor => tensor.Scope == Scope.Task, clients[0].Task);
        ClientAdapter[] stacked =
            [.. clients.Select(client => AdapterFactory.Of(plan, layout, client, new([.. shared, .. ofTask]), head: null))];
        _masks = adapter.Dropout.P == 0 ? [] : [.. clients.Select(client => LayerMasks.Of(layout, plan.Seed, 1, client.Id))];
        _stack = new AdapterStack(stacked, _masks.Count == 0 ? null : _masks, model.Device, model);
        _stack.Terms = ObjectiveTerms.Of(new(plan, shared, _stack, [.. clients.Select(static client => (client, AdapterState.Empty))]));
        _optimizer = new AdamW(_stack, training, [.. clients.Select(static _ => AdapterState.Empty)]);
        Initial = stacked[0].Values;
        _tensors.AddRange(scope.DisposablesView);
        scope.Detach(_tensors);
    }

    /// <summary>The first member's adapter before the first step.</summary>
    public AdapterState Initial { get; }

    /// <summary>Adapter parameters of one member that train.</summary>
    public long ParametersPerMember => _stack.Blocks.Sum(static block => block.Value.shape[1]);

    /// <summary>A step for each of several groups; like groups that train in turn, they use the same working memory.</summary>
    public static IReadOnlyList<OurStep> InTurn(
        CausalLanguageModel model, AdapterSpec adapter, TrainingSpec training, IReadOnlyList<int> members)
    {
        var workspace = new Workspace(model.Device, model.Dtype);
        return [.. members.Select((count, group) => new OurStep(model, adapter, training, count, workspace, ownsWorkspace: group == 0))];
    }

    /// <summary>Forward, backward, clipping and an optimizer step.</summary>
    /// <param name="batches">One for each member.</param>
    public void Step(IReadOnlyList<EncodedRow[]> batches)
    {
        using var scope = NewDisposeScope();
        _stack.ZeroGradients();
        for (var first = 0; first < batches.Count;)
        {
            var count = GroupTraining.Together(batches, first, double.MaxValue);
            PackedLoss.Gradients(_model, Packing.Of([.. batches.Skip(first).Take(count)], _model.Device),
                _stack.Slice(first, count), _workspace, compute: _compute);
            first += count;
        }

        _optimizer.Step(_rates);
    }

    /// <summary>The first member's loss.</summary>
    public float Loss(EncodedRow[] batch)
    {
        using var scope = NewDisposeScope();
        return PackedLoss.Gradients(_model, Packing.Of([batch], _model.Device), _stack.Slice(0, 1), _workspace, compute: _compute)[0]
            .item<float>();
    }

    public void Dispose()
    {
        foreach (var tensor in _tensors) tensor.Dispose();
        foreach (var masks in _masks.SelectMany(static masks => masks.Values)) masks.Dispose();
        if (_ownsWorkspace) _workspace.Dispose();
    }
}
