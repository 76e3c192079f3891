using FedRLora.Abstractions.Tensors;

namespace FedRLora.Federation.Aggregation;

/// <summary>
/// A rule among the clients of each task, then the mean over tasks, each with the sum of its clients' weights. Across tasks a robust
/// rule takes an honest minority task for an attacker, because its updates lie far from those of the majority.
/// </summary>
/// <param name="rule">The rule.</param>
/// <param name="tasks">The task of each update, in the order in which they are added.</param>
internal sealed class PerTask(IAggregationRule rule, IReadOnlyList<string> tasks) : IAggregationRule
{
    public bool KeepsUpdates => rule.KeepsUpdates;

    public bool CanMerge => false;   // the order of the tasks is that of the whole cohort

    public string? TooFew(int updates) => tasks.CountBy(static task => task).OrderBy(static task => task.Key, StringComparer.Ordinal)
        .Select(task => rule.TooFew(task.Value) is { } reason ? $"Task {task.Key}: {reason}" : null)
        .FirstOrDefault(static reason => reason is not null);

    public IAccumulator Begin(AdapterShapes shapes) => new Accumulator(shapes, rule, tasks);

    private sealed class Accumulator(AdapterShapes shapes, IAggregationRule rule, IReadOnlyList<string> tasks) : IAccumulator
    {
        private readonly SortedDictionary<string, Group> _groups = new(StringComparer.Ordinal);
        private double _weightedLength;
        private int _added;

        public void Add(AdapterState update, double weight, double length)
        {
            if (!_groups.TryGetValue(tasks[_added], out var group))
                _groups.Add(tasks[_added], group = new Group(rule.Begin(shapes)));
            group.Add(update, weight, length, _added++);
            _weightedLength += weight * length;
        }

        public void Merge(IAccumulator other) =>
            throw new NotSupportedException("A rule per task knows the order of the whole cohort, so parts of it cannot be merged.");

        public AggregateUpdate Finish()
        {
            if (_groups.Count == 0)
                throw new InvalidOperationException("An aggregate needs at least one update.");
            var finished = _groups.Values.Select(static group => (group.Weight, Aggregate: group.Finish())).ToList();
            var update = Mean.Of(shapes, finished.Select(static task => (task.Aggregate.Update, task.Weight)));
            var length = _weightedLength / finished.Sum(static task => task.Weight);
            return new AggregateUpdate(update, length > 0 ? UpdateCheck.Length(update) / length : null)
            {
                Curbed = finished.SelectMany(static task => task.Aggregate.Curbed).ToDictionary(),
            };
        }
    }

    /// <summary>The updates of one task, with their places among all.</summary>
    private sealed class Group(IAccumulator accumulator)
    {
        private readonly List<int> _places = [];

        public double Weight { get; private set; }

        public void Add(AdapterState update, double weight, double length, int place)
        {
            accumulator.Add(update, weight, length);
            Weight += weight;
            _places.Add(place);
        }

        public AggregateUpdate Finish()
        {
            var aggregate = accumulator.Finish();
            return aggregate with { Curbed = aggregate.Curbed.ToDictionary(curbed => _places[curbed.Key], static curbed => curbed.Value) };
        }
    }
}
