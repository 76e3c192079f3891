using System.Diagnostics;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Federation.Rounds;
using Orleans.Runtime;

namespace FedRLora.Grains.Coordination;

/// <summary>
/// The spans of the open round at its coordinator: one trace for a round, from its selection to its commit, over all attempts. Work that
/// sites begin and report carries its context in the messages. An activation that takes a round up begins a trace that links the one
/// before.
/// </summary>
internal sealed class RoundTrace(string run, IPersistentState<JobMemory> memory, TimeProvider time, RoundTimes times)
{
    private Activity? _round;
    private Activity? _evaluation;
    private (int Round, RoundPhase Phase, ulong Bound)? _chosen;
    private (DateTimeOffset At, long Timestamp) _evaluationBegan;

    /// <summary>The round whose span is open; null where none is.</summary>
    public int? Round { get; private set; }

    /// <summary>What spans of the coordinator are children of now.</summary>
    public Activity? Current => _evaluation ?? _round;

    /// <summary>Opens the span of a round.</summary>
    public void Begin(RoundState state, DateTimeOffset at)
    {
        End(outcome: "left");
        Round = state.Round;
        ActivityLink[] links = ActivityContext.TryParse(memory.State.Trace, traceState: null, isRemote: true, out var before)
            ? [new(before)] : [];
        Activity.Current = null;
        _round = Telemetry.Source.StartActivity("fedrlora.round", ActivityKind.Internal, parentContext: default, Tags(), links, at);
        memory.State.Trace = _round?.Id;
        _round?.SetTag("resumed", links.Length > 0);
    }

    /// <summary>A part of the round that begins now and ends with the result.</summary>
    public Part Begin(string stage) => new(this, stage, Telemetry.Source.StartActivity($"fedrlora.{stage}", ActivityKind.Internal,
        parentContext: Current?.Context ?? default, Tags()), time.GetTimestamp());

    /// <summary>A part of the round that is over.</summary>
    public void Add(string stage, DateTimeOffset at, TimeSpan duration, int clients)
    {
        Measure(stage, duration);
        if (_round is not null)
            TracedClients.Write($"fedrlora.{stage}", _round.Context, at, at + duration, [.. Tags(), new("clients", clients)]);
    }

    /// <summary>The scoring of the candidate begins, unless it has.</summary>
    public void BeginEvaluation()
    {
        if (_evaluationBegan != default) return;
        _evaluationBegan = (time.GetUtcNow(), time.GetTimestamp());
        if (_round is null) return;
        _evaluation = Telemetry.Source.StartActivity(
            "fedrlora.evaluate", ActivityKind.Internal, _round.Context, Tags(), links: null, _evaluationBegan.At);
    }

    /// <summary>The scoring of the candidate is over.</summary>
    public void EndEvaluation()
    {
        if (_evaluationBegan == default) return;
        var took = time.GetElapsedTime(_evaluationBegan.Timestamp);
        Measure("evaluate", took);
        _evaluation?.SetEndTime((_evaluationBegan.At + took).UtcDateTime);
        _evaluation?.Dispose();
        (_evaluation, _evaluationBegan) = (null, default);
        Activity.Current = _round;
    }

    /// <summary>Another attempt at the round begins.</summary>
    public void Retried(RoundState state)
    {
        EndEvaluation();
        _round?.AddEvent(new("attempt", time.GetUtcNow(), new() { { "attempt", state.Attempt }, { "reason", state.Missed?.ToString() } }));
    }

    /// <summary>Why the cohort closed: by whose report, or by what passed. The client has a span, chosen or not.</summary>
    public void Closed(RoundState state, string by, string? client, DateTimeOffset? sent)
    {
        _round?.SetTag("closed_by", by);
        if (_round is null || client is null || sent is not { } at) return;
        if (!TracedClients.Has(BoundOf(state, RoundPhase.Train, state.Cohort), run, state.Round, client))
        {
            TracedClients.Write("fedrlora.client", _round.Context, at, time.GetUtcNow(),
                [.. Tags(), new("client", client), new("phase", "train"), new("seen_by", "coordinator"), new("closed_round", true)]);
        }
    }

    /// <summary>The context of the open round, for the work of a phase.</summary>
    public SiteAssignment Mark(SiteAssignment assignment, RoundState state, IReadOnlyCollection<string> cohort) => Current is not { } span
        ? assignment
        : assignment with { TraceParent = span.Id, TracedUpTo = BoundOf(state, assignment.Phase, cohort) };

    /// <summary>The round is committed, this long after <paramref name="at"/>.</summary>
    public void Commit(DateTimeOffset at, double seconds)
    {
        EndEvaluation();
        _round?.SetStartTime(at.UtcDateTime).SetEndTime(at.AddSeconds(seconds).UtcDateTime);
        memory.State.Trace = null;
        End("committed");
    }

    /// <summary>The round ends otherwise.</summary>
    public void End(string outcome, string? reason = null)
    {
        EndEvaluation();
        _round?.SetTag("outcome", outcome);
        if (outcome != "committed") _round?.SetStatus(ActivityStatusCode.Error, reason ?? outcome);
        _round?.Dispose();
        (_round, Round, _chosen) = (null, null, null);
        Activity.Current = null;
    }

    private ulong BoundOf(RoundState state, RoundPhase phase, IReadOnlyCollection<string> cohort)
    {
        if (_chosen is { } known && (known.Round, known.Phase) == (state.Round, phase)) return known.Bound;
        _chosen = (state.Round, phase, TracedClients.Bound(run, state.Round, cohort));
        return _chosen.Value.Bound;
    }

    private KeyValuePair<string, object?>[] Tags() => [new("run", run), new("round", Round)];

    private void Measure(string stage, TimeSpan duration)
    {
        times.Add(stage, duration);
        Telemetry.StageDuration.Record(duration.TotalSeconds, Telemetry.Of(Telemetry.Run, run), Telemetry.Of(Telemetry.Stage, stage));
    }

    /// <summary>A part of a round that is going on.</summary>
    internal sealed class Part(RoundTrace trace, string stage, Activity? span, long began) : IDisposable
    {
        public void Tag(string name, object value) => span?.SetTag(name, value);

        public void Dispose()
        {
            trace.Measure(stage, trace.Elapsed(began));
            span?.Dispose();
        }
    }

    private TimeSpan Elapsed(long since) => time.GetElapsedTime(since);
}
