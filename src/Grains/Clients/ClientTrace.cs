using System.Collections.Concurrent;
using System.Diagnostics;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;

namespace FedRLora.Grains.Clients;

/// <summary>
/// The spans of a group's work: one for each member that is chosen (<see cref="TracedClients"/>) or has failed, with its stages. What is
/// logged meanwhile has the ids of the leader's, which is not sent where the leader is not chosen.
/// </summary>
internal sealed class ClientTrace
{
    private readonly ConcurrentQueue<(string Name, string? Client, DateTimeOffset Start, DateTimeOffset End)> _stages = [];
    private readonly SiteAssignment _assignment;
    private readonly string _site;
    private readonly TimeProvider _time;
    private readonly Activity? _live;
    private readonly ActivityContext _parent;
    private readonly DateTimeOffset _began;

    public ClientTrace(SiteAssignment assignment, string site, TimeProvider time)
    {
        (_assignment, _site, _time, _began) = (assignment, site, time, time.GetUtcNow());
        ActivityContext.TryParse(assignment.TraceParent, traceState: null, isRemote: true, out _parent);
        Activity.Current = null;
        _live = Telemetry.Source.StartActivity(
            "fedrlora.client", ActivityKind.Internal, _parent, Tags(assignment.Members[0].ClientId), links: null, _began);
    }

    /// <summary>A stage that begins now and ends with the result; of one member, or of all.</summary>
    public IDisposable Stage(string name, string? client = null) => new Going(this, name, client, _time.GetUtcNow(), _time.GetTimestamp());

    /// <summary>A stage that was measured by somebody else, within the last one of that name, of which it is the beginning.</summary>
    public void Queued(string within, TimeSpan waited)
    {
        var stages = _stages.ToArray();
        _stages.Clear();
        foreach (var stage in stages)
        {
            if (stage.Name != within || waited <= TimeSpan.Zero)
            {
                _stages.Enqueue(stage);
                continue;
            }

            var began = stage.Start + waited < stage.End ? stage.Start + waited : stage.End;
            _stages.Enqueue(stage with { Name = "queue", End = began });
            _stages.Enqueue(stage with { Start = began });
        }
    }

    /// <summary>The work is over.</summary>
    /// <param name="reports">What is reported; empty where it was given up.</param>
    /// <param name="outcome">How it ended where nothing is reported.</param>
    public void End(IReadOnlyList<ClientReport> reports, string outcome)
    {
        if (_live is null) return;
        var end = _time.GetUtcNow();
        var leader = _assignment.Members[0].ClientId;
        foreach (var member in _assignment.Members)
        {
            var report = reports.FirstOrDefault(report => report.ClientId == member.ClientId);
            var isLeader = member.ClientId == leader;
            var isSent = report?.Failure is not null
                || TracedClients.Has(_assignment.TracedUpTo, _assignment.JobId, _assignment.Round, member.ClientId);
            if (isLeader && !isSent) _live.ActivityTraceFlags &= ~ActivityTraceFlags.Recorded;
            if (!isSent) continue;
            var span = isLeader ? _live : Telemetry.Source.StartActivity(
                "fedrlora.client", ActivityKind.Internal, _parent, Tags(member.ClientId), links: null, _began);
            if (span is null) continue; // the sampler has no room for it
            span.SetTag("outcome", report is null ? outcome : report.Failure is null ? Telemetry.Ok : Telemetry.Failed);
            if (!isLeader) span.SetTag("group", leader);
            // The reason may quote a row: it is in the round's record, which stays with the run.
            if (report?.Failure is not null) span.SetStatus(ActivityStatusCode.Error);
            foreach (var stage in _stages.Where(stage => stage.Client is null || stage.Client == member.ClientId))
                TracedClients.Write($"fedrlora.{stage.Name}", span.Context, stage.Start, stage.End, Tags(member.ClientId));
            if (isLeader) continue;
            span.SetEndTime(end.UtcDateTime);
            span.Dispose();
        }

        _live.SetEndTime(end.UtcDateTime);
        _live.Dispose();
        Activity.Current = null;
    }

    private KeyValuePair<string, object?>[] Tags(string client) =>
    [
        new("run", _assignment.JobId), new("round", _assignment.Round), new("attempt", _assignment.Attempt),
        new("phase", Telemetry.PhaseName(_assignment.Phase)), new("site", _site), new("client", client),
    ];

    private sealed class Going(ClientTrace trace, string name, string? client, DateTimeOffset start, long began) : IDisposable
    {
        public void Dispose() => trace._stages.Enqueue((name, client, start, start + trace._time.GetElapsedTime(began)));
    }
}
