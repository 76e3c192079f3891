using System.Diagnostics;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;

namespace FedRLora.Grains.Sites;

/// <summary>
/// A span for each phase of a round at a site, from its assignment to the last report. It counts the clients that have no span of their
/// own (<see cref="TracedClients"/>).
/// </summary>
internal sealed class SiteSpans(string site) : IDisposable
{
    private const int Most = 64; // of buffered rounds, of which many may be open
    private readonly List<Open> _open = [];

    /// <summary>The assignment with the site's span as its parent; the same span where it is sent again.</summary>
    public SiteAssignment Begin(SiteAssignment assignment)
    {
        var open = _open.Find(one => one.Order == assignment.Order);
        if (open is null)
        {
            if (!assignment.Concurrent) End("replaced");
            if (_open.Count == Most) End(_open[0], "left");
            if (Start(assignment) is not { } span) return assignment;
            _open.Add(open = new(assignment, span));
        }

        open.Silent.UnionWith(assignment.Pending ?? [.. assignment.Members.Select(static member => member.ClientId)]);
        return assignment with { TraceParent = open.Span.Id };
    }

    /// <summary>A client has reported.</summary>
    public void Heard(ClientReport report)
    {
        if (_open.Find(one => one.Order == (report.Round, report.Attempt, report.Phase)) is not { } open) return;
        if (!open.Silent.Remove(report.ClientId)) return;
        open.Reported++;
        if (report.Failure is not null) open.Failed++;
        if (report.Failure is not null || open.IsChosen(report.ClientId)) open.Traced++;
        if (open.Silent.Count == 0) End(open, Telemetry.Ok);
    }

    /// <summary>All of them end.</summary>
    public void End(string outcome)
    {
        foreach (var open in _open.ToArray()) End(open, outcome);
    }

    public void Dispose() => End("left");

    private Activity? Start(SiteAssignment assignment)
    {
        Activity.Current = null;
        ActivityContext.TryParse(assignment.TraceParent, traceState: null, isRemote: true, out var parent);
        var span = Telemetry.Source.StartActivity("fedrlora.site", ActivityKind.Internal, parent, [
            new("run", assignment.JobId), new("round", assignment.Round), new("attempt", assignment.Attempt),
            new("phase", Telemetry.PhaseName(assignment.Phase)), new("site", site), new("clients", assignment.Members.Count)]);
        Activity.Current = null; // it ends in another turn
        return span;
    }

    private void End(Open open, string outcome)
    {
        _open.Remove(open);
        open.Span.SetTag("outcome", outcome).SetTag("reported", open.Reported).SetTag("failed", open.Failed)
            .SetTag("clients_left_out", open.Reported - open.Traced);
        open.Span.Dispose();
        Activity.Current = null;
    }

    private sealed class Open(SiteAssignment assignment, Activity span)
    {
        public Activity Span => span;

        public (int Round, int Attempt, RoundPhase Phase) Order => assignment.Order;

        public HashSet<string> Silent { get; } = new(StringComparer.Ordinal);

        public int Reported { get; set; }

        public int Failed { get; set; }

        public int Traced { get; set; }

        public bool IsChosen(string client) => TracedClients.Has(assignment.TracedUpTo, assignment.JobId, assignment.Round, client);
    }
}
