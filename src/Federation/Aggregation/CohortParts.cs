using System.Globalization;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Tensors;
using FedRLora.Federation.Rounds;

namespace FedRLora.Federation.Aggregation;

/// <summary>
/// How a closed cohort is cut for its rule: tensors that are aggregated over the same clients are one vector to it. Those of scope Job go
/// over the whole cohort, those of scope Task over the clients of each task. Where the plan has one task, or the rule works per task, both
/// go over the clients of a task, and the mean over tasks, each with the sum of its clients' weights, gives what all share: across tasks a
/// robust rule takes an honest minority task for an attacker, because its updates lie far from those of the majority.
/// </summary>
internal sealed class CohortParts
{
    private readonly FederationPlan _plan;
    private readonly IAggregationRule _rule;
    private readonly IReadOnlyDictionary<string, TaskStart> _tasks; // of their states, what moves
    private readonly AdapterShapes _job;
    private readonly string[] _taskOf; // by the client's place in the cohort
    private readonly SortedDictionary<string, int[]> _members; // of each task in the cohort
    private readonly SortedDictionary<string, string> _kept = new(StringComparer.Ordinal); // why a task's state stays
    private readonly Part[] _parts;
    private readonly Dictionary<string, AdapterShapes> _shapes;
    private double _weightedLength;

    public CohortParts(
        FederationPlan plan, IAggregationRule rule, MovingTensors moving, AdapterState global,
        IReadOnlyDictionary<string, TaskStart> starts, IReadOnlyList<string> closed, IReadOnlyDictionary<string, KeptReport> reports,
        IReadOnlyList<int>? staleness)
    {
        var job = moving.Of(global);
        var tasks = starts.ToDictionary(
            static task => task.Key, task => task.Value with { Shared = moving.Of(task.Value.Shared) }, StringComparer.Ordinal);
        (_plan, _rule, _tasks, _job) = (plan, rule, tasks, AdapterShapes.Of(job));
        var taskOf = plan.Clients.ToDictionary(static client => client.Id, static client => client.Task, StringComparer.Ordinal);
        _taskOf = [.. closed.Select(client => taskOf[client])];
        _members = new(
            _taskOf.Index().GroupBy(static client => client.Item, static client => client.Index, StringComparer.Ordinal)
                .ToDictionary(static task => task.Key, static task => task.ToArray(), StringComparer.Ordinal),
            StringComparer.Ordinal);
        _shapes = tasks.Where(task => _members.ContainsKey(task.Key)).ToDictionary(
            static task => task.Key, task => AdapterShapes.Of(new([.. job, .. task.Value.Shared])), StringComparer.Ordinal);
        foreach (var (task, start) in tasks)
        {
            if (WhyKept(_members.GetValueOrDefault(task)?.Length ?? 0, start) is { } reason) _kept.Add(task, reason);
        }

        var weights = Weights.Of(plan, closed, reports, staleness);
        _parts = AreWhole
            ? [.. _members.Select(Whole)]
            : [new(null, [.. Enumerable.Range(0, closed.Count)], _job, weights, weights, rule), .. Apart()];

        Part Whole(KeyValuePair<string, int[]> task)
        {
            double[] shares = [.. task.Value.Select(client => weights[client])];
            // A task without any share moves nothing that all have; among its clients all count alike then.
            double[] inside = shares.Any(static share => share > 0) ? shares : [.. shares.Select(static _ => 1.0)];
            return new(task.Key, task.Value, ShapesOf(task.Value[0]), inside, shares, rule);
        }

        IEnumerable<Part> Apart()
        {
            foreach (var (task, members) in _members)
            {
                if (!tasks.TryGetValue(task, out var start) || _kept.ContainsKey(task)) continue;
                if (rule.TooFew(members.Length) is { } reason)
                {
                    _kept.Add(task, reason);
                    continue;
                }

                string[] clients = [.. members.Select(client => closed[client])];
                int[] behind = [.. clients.Select(client => StalenessIn(start, client))];
                var shares = Weights.Of(plan, clients, reports, behind);
                yield return new(task, members, AdapterShapes.Of(start.Shared), shares, shares, rule);
            }
        }
    }

    /// <summary>Why the rule cannot work with so few updates, in one line; null where it can.</summary>
    public string? TooFew => !IsPerTask
        ? _rule.TooFew(_taskOf.Length)
        : _members.Select(task => _rule.TooFew(task.Value.Length) is { } reason ? $"Task {task.Key}: {reason}" : null)
            .FirstOrDefault(static reason => reason is not null);

    /// <summary>The shapes that an update of the cohort must have.</summary>
    /// <param name="client">The client's place in the cohort.</param>
    public AdapterShapes ShapesOf(int client) => _shapes.GetValueOrDefault(_taskOf[client], _job);

    /// <summary>
    /// What is left of an update after what its staleness costs it: in rounds what all share, in versions of its state what its task does.
    /// </summary>
    /// <param name="client">The client's place in the cohort.</param>
    /// <param name="id">The client.</param>
    /// <param name="staleness">Rounds since the client's base version.</param>
    public Discounts DiscountsOf(int client, string id, int staleness)
    {
        var job = (float)Weights.Discount(_plan, staleness);
        return _tasks.TryGetValue(_taskOf[client], out var start)
            ? new(job, (float)Weights.Discount(_plan, StalenessIn(start, id)), start.Shared)
            : new(job, job, AdapterState.Empty);
    }

    /// <summary>Whether the rule has to have each update whole.</summary>
    public bool TakeWhole => _parts.Any(static part => part.TakesWhole);

    /// <summary>Adds elements of an update to each part that has them; see <see cref="IPieceAccumulator"/>.</summary>
    /// <param name="client">The client's place in the cohort.</param>
    /// <param name="name">The tensor.</param>
    /// <param name="start">The first element.</param>
    /// <param name="values">The elements.</param>
    public void AddPiece(int client, string name, int start, ReadOnlySpan<float> values)
    {
        foreach (var part in _parts)
        {
            if (Has(part, client)) part.AddPiece(client, name, start, values);
        }
    }

    /// <summary>How long an update is in each part; it need not wait for the client's turn.</summary>
    /// <param name="client">The client's place in the cohort.</param>
    /// <param name="length">Its length over some tensors.</param>
    public Addition LengthsOf(int client, Func<AdapterShapes, double> length)
    {
        var lengths = _parts.Where(part => Has(part, client)).Select(part => (part, length(part.Shapes))).ToArray();
        return new(lengths, !IsPerTask ? 0 : ShapesOf(client).Count == _job.Count ? lengths[0].Item2 : length(_job));
    }

    /// <summary>Gives each part the lengths of its updates, where the rule needs them before it takes any.</summary>
    /// <param name="additions">Of every client, by its place in the cohort.</param>
    public void Measured(IReadOnlyList<Addition> additions)
    {
        foreach (var part in _parts)
            part.Measured([.. part.Members.Select(client => additions[client].Lengths.First(one => one.Part == part).Length)]);
    }

    /// <summary>Says that all of an update was added; in the order of the cohort.</summary>
    /// <param name="addition">Its lengths.</param>
    /// <param name="whole">The update, where the parts <see cref="TakeWhole"/>.</param>
    public void Added(Addition addition, AdapterState? whole)
    {
        foreach (var (part, length) in addition.Lengths)
        {
            if (IsPerTask) _weightedLength += part.NextShare * addition.SharedLength;
            part.Added(whole, length);
        }
    }

    /// <summary>What came of it.</summary>
    public PartAggregates Finish()
    {
        var finished = _parts.Select(static part => (Part: part, Aggregate: part.Finish())).ToList();
        AggregateUpdate job;
        if (!AreWhole) job = finished[0].Aggregate;
        else if (!IsPerTask) job = finished[0].Aggregate with { Update = Only(_job, finished[0].Aggregate.Update) };
        else
        {
            var update = Mean.Of(_job, finished.Select(task => (Only(_job, task.Aggregate.Update), task.Part.Share)));
            var length = _weightedLength / finished.Sum(static task => task.Part.Share);
            job = new(update, length > 0 ? UpdateCheck.Length(update) / length : null);
        }

        var tasks = finished.Where(part => part.Part.Task is { } task && _tasks.ContainsKey(task) && !_kept.ContainsKey(task))
            .ToDictionary(
                static part => part.Part.Task!,
                part => part.Aggregate with { Update = Only(AdapterShapes.Of(_tasks[part.Part.Task!].Shared), part.Aggregate.Update) },
                StringComparer.Ordinal);
        return new(job, tasks, _kept, Curbed(finished));
    }

    private bool IsPerTask => _plan.Strategy.Aggregation.PerTask;

    private bool AreWhole => IsPerTask || (_tasks.Count == 1 && _members.Count == 1);

    private Dictionary<int, string> Curbed(IEnumerable<(Part Part, AggregateUpdate Aggregate)> finished)
    {
        var curbed = new Dictionary<int, string>();
        foreach (var (part, aggregate) in finished)
        {
            foreach (var (place, reason) in aggregate.Curbed)
            {
                var (client, what) = (part.Members[place], AreWhole || part.Task is null ? reason : $"in its task {reason}");
                curbed[client] = curbed.TryGetValue(client, out var before) ? $"{before}; {what}" : what;
            }
        }

        return curbed;
    }

    private bool Has(Part part, int client) => part.Task is null || part.Task == _taskOf[client];

    private static int StalenessIn(TaskStart start, string client) => start.Staleness?.GetValueOrDefault(client) ?? 0;

    private static AdapterState Only(AdapterShapes shapes, AdapterState state) =>
        state.Count == shapes.Count ? state : new(state.Where(array => shapes.ContainsKey(array.Key)));

    private static string? WhyKept(int updates, TaskStart start) => updates switch
    {
        0 => start.Asked == 0 ? "none of its clients is in the round" : "no usable update of its clients",
        _ when updates < start.Quorum => string.Create(CultureInfo.InvariantCulture,
            $"{updates} usable {(updates == 1 ? "update" : "updates")} of its clients, its quorum is {start.Quorum}"),
        _ => null,
    };

    /// <summary>How long an update is.</summary>
    /// <param name="Lengths">In each of its parts.</param>
    /// <param name="SharedLength">In what all share, where the rule works per task.</param>
    internal sealed record Addition(IReadOnlyList<(Part Part, double Length)> Lengths, double SharedLength);

    /// <summary>What is left of a stale update.</summary>
    /// <param name="Job">Of what all share.</param>
    /// <param name="Task">Of what its task shares.</param>
    /// <param name="OfTask">What its task shares.</param>
    internal readonly record struct Discounts(float Job, float Task, AdapterState OfTask)
    {
        /// <summary>Of a tensor.</summary>
        public float Of(string name) => OfTask.ContainsKey(name) ? Task : Job;
    }

    /// <summary>What came of the parts.</summary>
    /// <param name="Job">Of what all share.</param>
    /// <param name="Tasks">Of what the clients of a task share, where that moves.</param>
    /// <param name="Kept">Why the state of a task stays.</param>
    /// <param name="Curbed">Updates that the rule left out or shortened, by the client's place in the cohort.</param>
    internal sealed record PartAggregates(
        AggregateUpdate Job, IReadOnlyDictionary<string, AggregateUpdate> Tasks, IReadOnlyDictionary<string, string> Kept,
        IReadOnlyDictionary<int, string> Curbed);

    /// <summary>Some tensors of some clients, to the rule a cohort of their own.</summary>
    /// <param name="task">Whose clients they are; null for all.</param>
    /// <param name="members">Their places in the cohort.</param>
    /// <param name="shapes">The tensors.</param>
    /// <param name="weights">Of each in the rule, of which one is positive.</param>
    /// <param name="shares">Of each in what all aggregate.</param>
    /// <param name="rule">The rule.</param>
    internal sealed class Part(
        string? task, int[] members, AdapterShapes shapes, double[] weights, double[] shares, IAggregationRule rule)
    {
        private readonly IPieceAccumulator? _pieces = rule.BeginPieces(shapes);
        private IAccumulator? _whole;
        private int _added;

        /// <summary>Whose clients they are; null for all.</summary>
        public string? Task => task;

        /// <summary>Their places in the cohort, ascending.</summary>
        public int[] Members => members;

        /// <summary>The tensors.</summary>
        public AdapterShapes Shapes => shapes;

        /// <summary>Whether the rule has to have each update whole.</summary>
        public bool TakesWhole => _pieces is null;

        /// <summary>The sum of their shares in what all aggregate.</summary>
        public double Share { get; private set; }

        /// <summary>That of the update that is added next.</summary>
        public double NextShare => shares[_added];

        public void Measured(IReadOnlyList<double> lengths) => _pieces?.Measured(lengths);

        public void AddPiece(int client, string name, int start, ReadOnlySpan<float> values)
        {
            if (_pieces is null || !shapes.ContainsKey(name)) return;
            var place = Array.BinarySearch(members, client);
            _pieces.Add(place, name, start, values, weights[place]);
        }

        public void Added(AdapterState? whole, double length)
        {
            Share += shares[_added];
            var weight = weights[_added++];
            if (_pieces is not null) _pieces.Added(weight, length);
            else (_whole ??= rule.Begin(shapes)).Add(Only(shapes, whole!), weight, length);
        }

        public AggregateUpdate Finish() => _pieces?.Finish() ?? (_whole ??= rule.Begin(shapes)).Finish();
    }
}
