using System.Diagnostics;
using FedRLora.Abstractions.Messages;
using FedRLora.Training.Adapters;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training.Steps;

/// <summary>
/// The points of a group's members, at the plan's interval. Nothing is read back from the device before the end, and no bit of a step
/// depends on it. Its buffer lives in the dispose scope in which it is made.
/// </summary>
internal sealed class StepRecord
{
    private const float NotStepped = -1; // no norm is negative

    private readonly int _round;
    private readonly int _every;
    private readonly IReadOnlyList<int> _steps; // of each member in the round
    private readonly Dictionary<int, int> _columns; // by step of the round, of those in which a member has a point
    private readonly Tensor _norms; // [members, columns]
    private readonly List<Noted>[] _noted;
    private readonly long _began = Stopwatch.GetTimestamp();

    private StepRecord(int round, int every, IReadOnlyList<int> steps, Device device)
    {
        (_round, _every, _steps) = (round, every, steps);
        _columns = Enumerable.Range(0, steps.Max()).Where(step => steps.Any(own => step < own && IsPoint(own, step))).Index()
            .ToDictionary(static entry => entry.Item, static entry => entry.Index);
        _norms = full([steps.Count, Math.Max(1, _columns.Count)], Living.Of(NotStepped), ScalarType.Float32, device);
        _noted = [.. steps.Select(static _ => new List<Noted>())];
    }

    /// <summary>Of a group whose training begins now; null where the plan records nothing.</summary>
    /// <param name="round">The round, from 1.</param>
    /// <param name="every">Steps from one point to the next; 0 for no points.</param>
    /// <param name="steps">Of each member in the round, in the group's order.</param>
    /// <param name="device">Of the stack.</param>
    public static StepRecord? Of(int round, int every, IReadOnlyList<int> steps, Device device) =>
        every == 0 ? null : new(round, every, steps, device);

    /// <summary>Where a step's norms go, <c>[members]</c>; null where nobody has a point.</summary>
    public Tensor? NormsOf(int step, int members) =>
        _columns.TryGetValue(step, out var column) ? _norms.select(1, column).narrow(0, 0, members) : null;

    /// <summary>A member took a step.</summary>
    /// <param name="member">Its place in the group.</param>
    /// <param name="step">Of the round, from 0.</param>
    /// <param name="learningRate">Of the step.</param>
    /// <param name="tokens">That went through the model for it in the round so far.</param>
    public void Stepped(int member, int step, double learningRate, long tokens)
    {
        if (!IsPoint(_steps[member], step)) return;
        _noted[member].Add(new(step, learningRate, tokens, Stopwatch.GetElapsedTime(_began).TotalSeconds, ResidentMemory.Bytes));
    }

    /// <summary>The points of a member.</summary>
    /// <param name="member">Its place in the group.</param>
    /// <param name="losses">Of its steps.</param>
    public IReadOnlyList<StepPoint> PointsOf(int member, IReadOnlyList<float> losses)
    {
        if (_noted[member].Count == 0) return [];
        using var scope = NewDisposeScope();
        var norms = TensorData.Values(_norms[member]);
        var (points, before) = (new List<StepPoint>(_noted[member].Count), new Noted(0, 0, 0, 0, 0));
        foreach (var noted in _noted[member])
        {
            var norm = norms[_columns[noted.Step]];
            points.Add(new()
            {
                Round = _round,
                Step = StepOf(_steps[member], noted.Step),
                Loss = losses[noted.Step],
                GradientNorm = norm == NotStepped ? null : norm,
                LearningRate = noted.LearningRate,
                TokensPerSecond = (noted.Tokens - before.Tokens) / (noted.Seconds - before.Seconds),
                ResidentBytes = noted.ResidentBytes,
                Seconds = noted.Seconds,
            });
            before = noted;
        }

        return points;
    }

    private bool IsPoint(int steps, int step) => StepOf(steps, step) % _every == 0;

    private long StepOf(int steps, int step) => (_round - 1L) * steps + step + 1;

    private readonly record struct Noted(int Step, double LearningRate, long Tokens, double Seconds, long ResidentBytes);
}
