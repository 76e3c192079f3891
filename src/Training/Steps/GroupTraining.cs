using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Adapters;
using FedRLora.Training.Data;
using FedRLora.Training.Kernels;
using FedRLora.Training.Objectives;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training.Steps;

/// <summary>
/// A round of a group: in every step the batches of all members that still have steps to go go through the base together. Members
/// are ordered by their steps, so that those still training are the first ones, then by the length of their rows, so that
/// neighbours fill alike; where a member would bring much padding, or activations would exceed the memory that the plan gives them, a
/// step takes more than one pass.
/// </summary>
internal sealed class GroupTraining : IDisposable
{
    // What a pass costs beside its rows, as rows: more padding than that is not worth a shared pass.
    private const int RowsPerPass = 32;

    private readonly FrozenBase _base;
    private readonly TrainingGroup _group;
    private readonly List<Member> _members;
    private readonly AdapterStack _stack;
    private readonly IMemberOptimizer _optimizer;
    private readonly IReadOnlyList<ObjectiveTerm> _terms;
    private readonly Workspace _workspace;
    private readonly List<Dictionary<string, LayerMasks>>? _masks;
    private readonly StepRecord? _record;
    private double _bytesPerRow;

    private GroupTraining(FrozenBase model, TrainingGroup group, AdapterLayout layout, IEnumerable<Member> members, Device device)
    {
        (_base, _group) = (model, group);
        _members = [.. members
            .OrderByDescending(static member => member.Steps)
            .ThenByDescending(static member => member.Rows.Rows.Average(static row => row.Ids.Length))
            .ThenBy(static member => member.Client.Id, StringComparer.Ordinal)];
        var hasDropout = layout.Spec.Dropout is { P: > 0, Site: not DropoutSite.None };
        _masks = hasDropout ? [.. _members.Select(member => LayerMasks.Of(layout, group.Plan.Seed, group.Round, member.Client.Id))] : null;
        List<string> tasks = [.. group.Plan.Clients.Select(static client => client.Task).Distinct().Order(StringComparer.Ordinal)];
        _stack = new AdapterStack([.. _members.Select(static member => member.TakeAdapter())], _masks, device, model.Model,
            tasks: [.. _members.Select(member => tasks.IndexOf(member.Client.Task))]);
        _terms = _stack.Terms = ObjectiveTerms.Of(new(
            group.Plan, group.Shared, _stack, [.. _members.Select(static member => (member.Client, member.Given))]));
        _workspace = new Workspace(device, model.Model.Dtype);
        _optimizer = MemberOptimizers.Of(_stack, group.Plan.Training, [.. _members.Select(static member => member.Optimizer)]);
        _record = StepRecord.Of(group.Round, group.Plan.Telemetry.StepEvery, [.. _members.Select(static member => member.Steps)], device);
    }

    /// <summary>Trains the members of a group for its round; on the lane, within a dispose scope of the caller.</summary>
    /// <param name="model">The frozen base.</param>
    /// <param name="group">Plan, round and shared state.</param>
    /// <param name="layout">Of the plan's adapter.</param>
    /// <param name="rows">The members that train, with their rows.</param>
    /// <param name="device">The lane's.</param>
    /// <param name="cancellationToken">Looked at between steps.</param>
    /// <param name="progress">Gets the share of the steps that is done; null for nobody.</param>
    /// <returns>By client id. A member whose state does not fit or whose training diverged has a failure.</returns>
    public static IReadOnlyDictionary<string, TrainingResult> Run(
        FrozenBase model, TrainingGroup group, AdapterLayout layout, IReadOnlyList<(GroupMember Member, TrainingRows Rows)> rows,
        Device device, CancellationToken cancellationToken, Action<double>? progress = null)
    {
        var (members, failed) = (new List<Member>(), new Dictionary<string, TrainingResult>(StringComparer.Ordinal));
        var clientsOf = !layout.Spec.Has(Scope.Task) ? []
            : group.Plan.Clients.CountBy(static client => client.Task).ToDictionary(StringComparer.Ordinal);
        foreach (var (member, training) in rows)
        {
            try
            {
                members.Add(Member.Of(group, layout, member, training, clientsOf.GetValueOrDefault(member.Client.Task) <= 1));
            }
            catch (BadInputException exception)
            {
                failed.Add(member.Client.Id, new() { ClientId = member.Client.Id, Failure = exception.Message });
            }
        }

        if (members.Count == 0) return failed;
        using var groupTraining = new GroupTraining(model, group, layout, members, device);
        return groupTraining.Run(progress, cancellationToken).Concat(failed).ToDictionary(StringComparer.Ordinal);
    }

    private Dictionary<string, TrainingResult> Run(Action<double>? progress, CancellationToken cancellationToken)
    {
        var losses = _members.Select(member => zeros(Math.Max(1, member.Steps), ScalarType.Float32, _base.Model.Device)).ToList();
        for (var step = 0; step < _members[0].Steps; step++)
        {
            cancellationToken.ThrowIfCancellationRequested();
            Step(step, losses);
            progress?.Invoke((step + 1.0) / _members[0].Steps);
        }

        _workspace.Dispose(); // before the results take as much

        foreach (var member in _members)
        {
            KeyValuePair<string, object?> run = Telemetry.Of(Telemetry.Run, _group.Run ?? _group.Plan.Name),
                site = Telemetry.Of(Telemetry.Site, member.Client.Site), task = Telemetry.Of(Telemetry.Task, member.Client.Task);
            Telemetry.Steps.Add(member.Steps, run, site, task);
            Telemetry.Tokens.Add(member.Tokens, run, site, task);
        }

        return _members.Index().ToDictionary(static entry => entry.Item.Client.Id,
            entry => ResultOf(entry.Index, TensorData.Values(losses[entry.Index])), StringComparer.Ordinal);
    }

    public void Dispose()
    {
        _workspace.Dispose();
        foreach (var masks in _masks?.SelectMany(static masks => masks.Values) ?? []) masks.Dispose();
    }

    // What a step allocates, it frees.
    private void Step(int step, List<Tensor> losses)
    {
        using var scope = NewDisposeScope();
        var plan = _group.Plan;
        var active = _members.TakeWhile(member => member.Steps > step).ToList();
        var batches = active.Select(member => member.Batch(_group.Round, step)).ToList();
        _stack.ZeroGradients();
        for (var first = 0; first < active.Count;)
        {
            using var pass = NewDisposeScope();
            // What a row takes is measured by the first pass, which is one member's; it follows from the shapes, so every machine cuts
            // alike.
            var count = Together(batches, first, _bytesPerRow == 0 ? 0 : plan.Training.PassMemoryMb * 1e6 / _bytesPerRow);
            var packing = Packing.Of(batches.GetRange(first, count), _base.Model.Device);
            var passLosses = PackedLoss.Gradients(_base.Model, packing, _stack.Slice(first, count), _workspace,
                plan.Training.ActivationCheckpointing, ComputeUnits.TypeOf(plan.Training.Compute));
            _bytesPerRow = Math.Max(_bytesPerRow, (double)_workspace.MostBytes / (packing.Members * packing.RowsPerMember));
            for (var i = 0; i < count; i++) losses[first + i][step].copy_(passLosses[i]);
            first += count;
        }

        var rates = active.Select(member => LearningRate.At(
            plan.Training with { LearningRate = member.Client.LearningRate ?? plan.Training.LearningRate },
            (_group.Round - 1L) * member.Steps + step, member.Steps, plan.Strategy.Rounds)).ToList();
        foreach (var term in _terms) term.AddGradients(active.Count);
        var headsOnly = step < plan.Training.WarmHeadSteps;
        _optimizer.Step(rates, headsOnly, Correction, _record?.NormsOf(step, active.Count));
        foreach (var term in _terms) term.Stepped(rates, headsOnly);
        for (var i = 0; i < active.Count; i++) _record?.Stepped(i, step, rates[i], active[i].Tokens);
    }

    private Action<int>? Correction => _terms.Any(static term => term.Corrects)
        ? members => { foreach (var term in _terms) term.Correct(members); }
        : null;

    /// <summary>How many members from the first one on share a pass.</summary>
    /// <param name="batches">Of the members in order.</param>
    /// <param name="first">The first that has no pass yet.</param>
    /// <param name="mostRows">Rows that a pass may have, padding included, if it has more than one member.</param>
    internal static int Together(IReadOnlyList<EncodedRow[]> batches, int first, double mostRows)
    {
        var (count, widest) = (1, Packing.TokensOf(batches[first]));
        while (first + count < batches.Count)
        {
            var next = Packing.TokensOf(batches[first + count]);
            var padding = Math.Max(widest, next) * (count + 1) - widest * count - next;
            if (padding > RowsPerPass || Math.Max(widest, next) * (count + 1) > mostRows) break;
            (count, widest) = (count + 1, Math.Max(widest, next));
        }

        return count;
    }

    private TrainingResult ResultOf(int index, float[] losses)
    {
        using var scope = NewDisposeScope();
        var (member, adapter) = (_members[index], _stack.Member(index));
        var failed = Array.FindIndex(losses, static loss => !float.IsFinite(loss));
        if (failed >= 0) return Failed($"round {_group.Round}, step {failed + 1}: the loss is {losses[failed]}; lower the learning rate");
        KeyValuePair<string, NamedArray> Update(KeyValuePair<string, NamedArray> after) =>
            new(after.Key, Difference(after.Value, member.Before[after.Key]));
        KeyValuePair<string, NamedArray> Moved(KeyValuePair<string, NamedArray> after) =>
            member.Before.TryGetValue(after.Key, out var before) ? new(after.Key, Sum(before, Difference(after.Value, before))) : after;
        var update = new AdapterState(adapter.State(static info => info is { Trains: true, Policy.IsAggregated: true }).Select(Update));
        var head = new AdapterState(adapter.State(static info => info.Scope == Scope.Client).Select(Moved));
        var ended = _terms.Select(term => term.End(index, update)).ToList();
        update = new([.. update, .. Statistics(ended)]);
        foreach (var (name, array) in update.Concat(head))
        {
            if (Array.Exists(array.Data, static value => !float.IsFinite(value)))
                return Failed($"round {_group.Round}: tensor {name} is not finite after {losses.Length} steps; lower the learning rate");
        }

        return new TrainingResult
        {
            ClientId = member.Client.Id,
            Update = update,
            Head = head,
            Optimizer = new(AdamW.AtRoundEnd(Remembered(index), adapter.Layout, member.IsAlone)
                .Concat(ended.SelectMany(static result => result.Remembered))),
            Numbers = new TrainingNumbers
            {
                Samples = member.Rows.Rows.Count,
                Steps = member.Steps,
                MeanLoss = losses.Zip(member.LossTokens, static (loss, tokens) => (double)loss * tokens).Sum() / member.LossTokens.Sum(),
                LastLoss = losses[^1],
                ProductNorm = adapter.ProductNorm(),
                GateUse = _stack.GateUseOf(index),
            },
            Notes = member.Rows.Notes,
            Points = Points(),
        };

        TrainingResult Failed(string reason) => new() { ClientId = member.Client.Id, Failure = reason, Points = Points() };

        IReadOnlyList<StepPoint> Points() => _record?.PointsOf(index, losses) ?? [];
    }

    // All that the plan declares: what a client has nothing to say of is zero.
    private AdapterState Statistics(List<TermResult> ended)
    {
        var families = _group.Plan.StatisticFamilies;
        var own = ended.SelectMany(static result => result.Statistics).ToDictionary(StringComparer.Ordinal);
        return new(_group.Shared.Where(entry => families.Any(family => family.Has(entry.Key))).Select(entry => KeyValuePair.Create(
            entry.Key, own.GetValueOrDefault(entry.Key) ?? new(entry.Value.Shape, new float[entry.Value.Data.Length]))));
    }

    // With the moments of what does not train in this round, as they were.
    private AdapterState Remembered(int member)
    {
        var moments = _optimizer.Export(member);
        if (_group.Plan.Training.Optimizer != LocalOptimizer.AdamW) return moments;
        var trained = _stack.Layout.Tensors.Where(static info => info.Trains).SelectMany(static info => AdamW.NamesOf(info.Name))
            .ToHashSet(StringComparer.Ordinal);
        return new([.. moments, .. _members[member].Optimizer.Where(entry => !trained.Contains(entry.Key))]);
    }

    private static NamedArray Difference(NamedArray after, NamedArray before)
    {
        var result = new float[after.Data.Length];
        for (var i = 0; i < result.Length; i++) result[i] = after.Data[i] - before.Data[i];
        return new NamedArray(after.Shape, result);
    }

    // As the coordinator adds an update of one client: what stays with a client moves by the bits of what is aggregated.
    private static NamedArray Sum(NamedArray before, NamedArray update)
    {
        var result = new float[before.Data.Length];
        for (var i = 0; i < result.Length; i++) result[i] = (float)((double)before.Data[i] + update.Data[i]);
        return new NamedArray(before.Shape, result);
    }

    private sealed class Member(
        ClientSpec client, TrainingRows rows, int steps, BatchOrder order, ClientAdapter adapter, AdapterState given,
        AdapterState optimizer, bool isAlone)
    {
        private ClientAdapter? _adapter = adapter;

        public ClientSpec Client => client;

        public TrainingRows Rows => rows;

        public int Steps => steps;

        /// <summary>Its task has no other client.</summary>
        public bool IsAlone => isAlone;

        /// <summary>What trains, as it was before the round.</summary>
        public AdapterState Before { get; } = new(adapter.Layout.Tensors.Where(static tensor => tensor.Trains)
            .Select(tensor => KeyValuePair.Create(tensor.Name, adapter.Values[tensor.Name])));

        /// <summary>The values to begin with; once, so that they do not lie beside the stack until the end.</summary>
        public ClientAdapter TakeAdapter()
        {
            var taken = _adapter ?? throw new InvalidOperationException("the adapter was taken before");
            _adapter = null;
            return taken;
        }

        /// <summary>Moments to go on from.</summary>
        public AdapterState Optimizer => optimizer;

        /// <summary>All that was kept of the round before.</summary>
        public AdapterState Given => given;

        /// <exception cref="BadInputException">A state does not fit the plan.</exception>
        public static Member Of(TrainingGroup group, AdapterLayout layout, GroupMember given, TrainingRows rows, bool isAlone)
        {
            var (plan, client) = (group.Plan, given.Client);
            var steps = client.Steps ?? plan.Training.Steps;
            var adapter = AdapterFactory.Of(group, layout, given);
            var kept = given.Optimizer ?? AdapterState.Empty;
            var optimizer = AdamW.AtRoundStart(kept, layout, plan.Training.Moments, isAlone);
            AdamW.Check(optimizer, layout);
            ControlVariatesTerm.Check(kept, layout);
            return new(client, rows, steps, new BatchOrder(rows.Rows.Count, plan.Training.BatchSize, steps, plan.Seed, client.Id),
                adapter, kept, optimizer, isAlone);
        }

        public List<int> LossTokens { get; } = [];

        public long Tokens { get; private set; }

        public EncodedRow[] Batch(int round, int step)
        {
            EncodedRow[] batch = [.. order.Take(round, step).Select(row => rows.Rows[row])];
            LossTokens.Add(batch.Sum(static row => row.LossTokens));
            Tokens += Packing.TokensOf(batch);
            return batch;
        }
    }
}
