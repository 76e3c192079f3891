using System.Diagnostics;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Grains;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Ports;
using FedRLora.Abstractions.Sending;
using FedRLora.Grains.Clients;
using FedRLora.Grains.Exports;
using FedRLora.Grains.Inputs;
using FedRLora.Grains.Logs;
using FedRLora.Grains.Placement;
using FedRLora.Grains.Runs;
using FedRLora.Grains.Store;
using Microsoft.Extensions.Logging;

namespace FedRLora.Grains.Sites;

/// <summary>
/// A site's part of one job: cuts the site's cohort into groups, hands each to its leading client, and bundles reports so that
/// the coordinator hears sites. Before a round is committed it says which of the reported files are missing. It remembers nothing that
/// the coordinator does not ask for again.
/// </summary>
[OnItsSite]
internal sealed partial class SiteGrain(
    IBlobStores stores, DurableSite durable, SiloCache cache, IAdapterExporter exporter, InputGuard guard, SiloIdentity silo,
    GrainSettings settings, TimeProvider time, ILogger<SiteGrain> logger) : Grain, ISiteGrain, IDisposable
{
    private const int FanOut = 128;
    private static readonly TimeSpan BundleFor = TimeSpan.FromMilliseconds(50);
    private static readonly TimeSpan FirstPause = TimeSpan.FromSeconds(0.5);
    private static readonly TimeSpan LongestPause = TimeSpan.FromSeconds(5);
    private readonly List<ClientReport> _bundle = [];
    private readonly HashSet<string> _leaders = new(StringComparer.Ordinal); // who was sent work since the last cancellation
    private SiteAssignment? _current;
    private IGrainTimer? _flush;
    private int _silent;
    private bool _sending;
    private int _failures; // to send, in a row
    private SiteSpans? _spans;
    private string? _measured; // the plan whose tasks have their counters

    private SiteLease? _lease;

    private SiteLease Lease => _lease ??= new(this, settings.LeaseFor, time);

    private SiteSpans Spans => _spans ??= new(Keys.SiteOf(this.GetPrimaryKeyString()));

    public void Dispose() => _spans?.Dispose();

    public override Task OnActivateAsync(CancellationToken cancellationToken)
    {
        silo.RequireSiteOf(this.GetPrimaryKeyString());
        return Task.CompletedTask;
    }

    public Task PingAsync(CancellationToken cancellationToken = default) => Task.CompletedTask;

    public Task<string?> RefusesAsync(IReadOnlyList<SentTensor> sent, CancellationToken cancellationToken = default) =>
        Task.FromResult(silo.MaySend.Refuses(Keys.SiteOf(this.GetPrimaryKeyString()), sent));

    public async Task AcceptAsync(SiteAssignment assignment, CancellationToken cancellationToken = default)
    {
        if (SiteProtocol.Refusal($"The coordinator of run {assignment.JobId}", assignment.Protocol) is { } unknown)
            throw new BadInputException($"Site {Keys.SiteOf(this.GetPrimaryKeyString())}: {unknown}");
        // Whoever sends it may be of a version that asks nobody, and this silo may have been started with a narrower word meanwhile.
        var site = Keys.SiteOf(this.GetPrimaryKeyString());
        if (!silo.MaySend.IsOpen(site))
        {
            var plan = (await cache.PlanAsync(assignment.Plan, cancellationToken)).Plan;
            if (silo.MaySend.Refuses(site, SentTensor.Of(plan), isBegun: true) is { } refusal) throw new BadInputException(refusal);
        }

        if (!assignment.Concurrent)
        {
            var order = _current is { } current ? assignment.Order.CompareTo(current.Order) : 1;
            if (order < 0) return;
            if (order > 0) _bundle.Clear();
            _silent = assignment.Pending?.Count ?? assignment.Members.Count;
        }

        _current = assignment = Spans.Begin(assignment);
        Lease.Hold(RenewAsync);
        _ = DispatchAsync(assignment);
    }

    public Task ReportAsync(IReadOnlyList<ClientReport> reports, CancellationToken cancellationToken = default)
    {
        foreach (var report in reports)
        {
            // Of work that was replaced.
            if (_current is { Concurrent: false } current && (report.Round, report.Attempt, report.Phase) != current.Order) continue;
            _bundle.Add(report);
            _silent--;
            Spans.Heard(report);
        }

        if (_silent <= 0) _ = FlushAsync();
        else FlushAfter(BundleFor);
        return Task.CompletedTask;
    }

    public async Task<IReadOnlyDictionary<string, string>> ConfirmAsync(
        SiteConfirmation confirmation, CancellationToken cancellationToken = default)
    {
        var (job, site) = (Keys.JobOf(this.GetPrimaryKeyString()), Keys.SiteOf(this.GetPrimaryKeyString()));
        ActivityContext.TryParse(confirmation.TraceParent, traceState: null, isRemote: true, out var parent);
        using var activity = Telemetry.Source.StartActivity("fedrlora.confirm", ActivityKind.Internal, parent, [
            new("run", job), new("round", confirmation.Round), new("site", site), new("clients", confirmation.Clients.Count)]);
        using var scope = logger.BeginScope(new LogScope(job, confirmation.Round, site));
        await durable.MakeDurableAsync(cancellationToken);
        var missing = await Task.Run(
            () => WrittenFiles.MissingAsync(stores, job, site, confirmation.Clients, cancellationToken), cancellationToken);
        foreach (var (_, what) in missing) LogMissing(job, site, confirmation.Round, confirmation.Attempt, what);
        return missing;
    }

    public async Task CancelAsync(CancellationToken cancellationToken = default)
    {
        _current = null; // the same work may be asked for again, and what still comes is of nobody's interest
        _bundle.Clear();
        await StopAsync("cancelled", cancellationToken);
    }

    private async Task StopAsync(string outcome, CancellationToken cancellationToken = default)
    {
        Spans.End(outcome);
        Lease.Release();
        var leaders = _leaders.ToArray();
        _leaders.Clear();
        foreach (var some in leaders.Chunk(FanOut))
            await Task.WhenAll(some.Select(leader => ClientOf(leader).CancelAsync(cancellationToken)));
    }

    public async Task AdoptAsync(string source, IReadOnlyList<ManifestClient> owners, CancellationToken cancellationToken = default)
    {
        var key = this.GetPrimaryKeyString();
        await Fork.CopyOwnedAsync(stores.Site, source, owners, stores.Site, Keys.JobOf(key), Keys.SiteOf(key), cancellationToken);
        await durable.MakeDurableAsync(cancellationToken);
    }

    public async Task<InputsFound> CheckInputsAsync(InputsCheck check, CancellationToken cancellationToken = default)
    {
        var (key, plan) = (this.GetPrimaryKeyString(), await cache.PlanAsync(check.Plan, cancellationToken));
        return await Task.Run(() => guard.CheckAsync(Keys.JobOf(key), Keys.SiteOf(key), silo.Name, check, plan, cancellationToken),
            cancellationToken);
    }

    public async Task<IReadOnlyDictionary<string, string>> ExportAsync(
        SiteAssignment committed, CancellationToken cancellationToken = default)
    {
        var round = ExportedRound.Of(committed, await cache.PlanAsync(committed.Plan, cancellationToken), cache, stores.Site);
        var target = new StoredExports(stores.Site, committed.JobId, Keys.SiteOf(this.GetPrimaryKeyString()));
        var written = await new AdapterExport(exporter, guard).WriteAsync(round, target, form: null, cancellationToken);
        await durable.MakeDurableAsync(cancellationToken); // before the job is marked as over, after which nobody makes them again
        return written;
    }

    private async Task DispatchAsync(SiteAssignment assignment)
    {
        try
        {
            var plan = await cache.PlanAsync(assignment.Plan, CancellationToken.None);
            BeginSeries(assignment, plan);
            var pending = assignment.Pending?.ToHashSet(StringComparer.Ordinal);
            // Cut from the whole sorted cohort by a value of the run, so that a group sent again is the same group.
            var groups = assignment.Members.Chunk(Math.Max(1, assignment.GroupSize))
                .Where(group => pending is null || group.Any(member => pending.Contains(member.ClientId)));
            foreach (var some in groups.Chunk(FanOut))
            {
                if (!assignment.Concurrent && !ReferenceEquals(_current, assignment)) return; // replaced meanwhile
                _leaders.UnionWith(some.Select(static group => group[0].ClientId));
                await Task.WhenAll(some.Select(group =>
                    ClientOf(group[0].ClientId).AcceptAsync(TaskStates.For(group, assignment, plan) with { Pending = null })));
            }
        }
        catch (Exception e)
        {
            // The coordinator sends again.
            LogDispatchFailed(assignment.JobId, Keys.SiteOf(this.GetPrimaryKeyString()), assignment.Round, e);
        }
    }

    private void BeginSeries(SiteAssignment assignment, IndexedPlan plan)
    {
        if (_measured == assignment.Plan.Sha256) return;
        _measured = assignment.Plan.Sha256;
        var site = Keys.SiteOf(this.GetPrimaryKeyString());
        var tasks = plan.Plan.Clients.Where(client => client.Site == site).Select(static client => client.Task);
        Telemetry.BeginSite(assignment.JobId, site, tasks.Distinct(StringComparer.Ordinal));
    }

    private IClientGrain ClientOf(string leader) =>
        GrainFactory.GetGrain<IClientGrain>(
            Keys.Client(Keys.JobOf(this.GetPrimaryKeyString()), Keys.SiteOf(this.GetPrimaryKeyString()), leader));

    // An empty report, which says nothing but that somebody is still at work for the run.
    private async Task RenewAsync()
    {
        if (_current is null || (_silent <= 0 && !_current.Concurrent))
        {
            Lease.Release();
            return;
        }

        var (job, site) = (Keys.JobOf(this.GetPrimaryKeyString()), Keys.SiteOf(this.GetPrimaryKeyString()));
        try
        {
            var report = new SiteReport { Site = site, Clients = [], Protocol = SiteProtocol.Version };
            await GrainFactory.GetGrain<IRunReportingGrain>(job).ReportAsync(report).WaitAsync(Lease.Patience, time);
            Lease.Heard();
        }
        catch (BadInputException)
        {
            Lease.Heard(); // a refusal is an answer; the coordinator's own calls say what comes of it
        }
        catch (Exception e) when (Unanswered.Is(e))
        {
            if (!Lease.IsOver) return;
            // What was reported stays to be delivered; the rest is asked for again by whoever still wants it.
            LogLeaseOver(job, site, Lease.Silence.TotalSeconds);
            await StopAsync("cut off");
        }
    }

    private async Task FlushAsync()
    {
        _flush?.Dispose();
        _flush = null;
        if (_sending || _bundle.Count == 0) return;
        _sending = true;
        // Also where this activation has seen no assignment.
        var (job, site) = (Keys.JobOf(this.GetPrimaryKeyString()), Keys.SiteOf(this.GetPrimaryKeyString()));
        var sent = _bundle.ToArray();
        try
        {
            await GrainFactory.GetGrain<IRunReportingGrain>(job).ReportAsync(
                new SiteReport { Site = site, Clients = sent, Protocol = SiteProtocol.Version });
            _failures = 0;
            Lease.Heard();
            // A newer assignment may have emptied it.
            if (_bundle.Count >= sent.Length && ReferenceEquals(_bundle[0], sent[0])) _bundle.RemoveRange(0, sent.Length);
        }
        catch (Exception e) when (Unanswered.Is(e))
        {
            if (_failures++ == 0) LogReportLost(job, site, sent.Length, e.GetType().Name);
        }
        finally
        {
            _sending = false;
        }

        if (_bundle.Count == 0) return;
        if (_silent <= 0 && _failures == 0) _ = FlushAsync();
        else FlushAfter(_failures == 0 ? BundleFor : Pauses.Doubled(FirstPause, _failures, LongestPause));
    }

    private void FlushAfter(TimeSpan delay) =>
        _flush ??= this.RegisterGrainTimer(
            static (site, _) => site.FlushAsync(), this,
            // beside calls: the coordinator may be asking this site something while it is told
            new GrainTimerCreationOptions(delay, Timeout.InfiniteTimeSpan) { KeepAlive = true, Interleave = true });
}
