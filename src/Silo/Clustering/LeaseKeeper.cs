using System.Net;
using FedRLora.Abstractions.Ports;
using FedRLora.Silo.Storage;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Orleans;
using Orleans.Runtime;

namespace FedRLora.Silo.Clustering;

/// <summary>
/// Keeps two clusters from working on one job store. A silo enters before it starts, and while it runs its cluster renews the lease;
/// where another cluster holds it, the silo ends. What is decided stands in <see cref="LeaseRules"/>.
/// </summary>
public sealed partial class LeaseKeeper(
    SiloOptions options, IBlobStores stores, IServiceProvider services, IClusterMembershipService membership, ILocalSiloDetails self,
    IHostApplicationLifetime lifetime, SiloEnding ending, TimeProvider time, ILogger<LeaseKeeper> logger) : BackgroundService
{
    private static readonly TimeSpan LookAgainAfter = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan RenewEvery = TimeSpan.FromSeconds(5);
    private readonly string _place = PlaceOf(options);
    private string _cluster = Guid.NewGuid().ToString("N");
    private long _term;
    private long? _foreignSince;
    private bool _troubled;

    private LeaseBlob Blob => new(stores.Job);

    private string Store => StoreLocation.Parse(StoreRole.Job, options.Store).Name;

    /// <summary>Waits until this silo may work on the store, in the cluster that holds the lease or as the first of a new one.</summary>
    /// <exception cref="ClusterUnavailableException">Another cluster works on the store.</exception>
    public async Task EnterAsync(CancellationToken cancellationToken)
    {
        var (started, sinceChange, renewed, said) = (time.GetTimestamp(), time.GetTimestamp(), false, false);
        StoredLease? before = null;
        while (true)
        {
            var stored = await Blob.ReadAsync(cancellationToken);
            if (before is not null && stored.ETag != before.ETag)
            {
                renewed = stored.Lease is not null && stored.Lease.Cluster == before.Lease?.Cluster;
                sinceChange = time.GetTimestamp();
            }

            before = stored;
            var lease = stored.Lease;
            if (stored.Problem is { } problem)
            {
                if (time.GetElapsedTime(started) > ClusterLease.Duration) throw problem; // a cluster that is up would have written it again
            }
            else
            {
                var arrival = new Arrival(lease, time.GetUtcNow())
                {
                    Ours = lease?.Cluster == _cluster, SamePlace = lease?.Place == _place && lease.ClusterId == options.ClusterId,
                    MayHeal = options.Cluster.IsOutside, Renewed = renewed,
                    Unchanged = time.GetElapsedTime(sinceChange), Waited = time.GetElapsedTime(started),
                };
                if (lease is not null)
                {
                    arrival = arrival with { NamesMember = await NamesMemberAsync(lease, arrival.SamePlace, cancellationToken) };
                    if (!arrival.NamesMember) arrival = arrival with { Reached = await lease.ReachAsync(cancellationToken) };
                }

                switch (LeaseRules.Admit(arrival))
                {
                    case Admission.Enter:
                        (_cluster, _term) = (lease!.Cluster, lease.Term);
                        LogEntered(Store, _term);
                        return;
                    case Admission.Take when await TakeAsync(stored, cancellationToken):
                        LogTaken(Store, _term);
                        return;
                    case Admission.Refuse:
                        throw new ClusterUnavailableException(
                            $"the store {Store} is in use by {lease}; join that one, stop it, or name another --store");
                    case Admission.Wait when !said:
                        said = true;
                        LogWaiting(Store, lease!);
                        break;
                }
            }

            await Task.Delay(LookAgainAfter, time, cancellationToken);
        }
    }

    /// <inheritdoc/>
    public override async Task StopAsync(CancellationToken cancellationToken)
    {
        await base.StopAsync(cancellationToken);
        if (_term == 0 || Active().Any(silo => !silo.Equals(self.SiloAddress))) return;
        try
        {
            // The last one leaves the store to whoever comes next; were it not the last, the others would write their lease again.
            var stored = await Blob.ReadAsync(CancellationToken.None);
            if (stored.Lease?.Cluster == _cluster) await WriteAsync(stored, _term, [], starting: false, CancellationToken.None);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            LogTrouble(Store, e.Message); // it ends by itself
        }
    }

    /// <inheritdoc/>
    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        var started = new TaskCompletionSource();
        using var registration = lifetime.ApplicationStarted.Register(started.SetResult);
        await started.Task.WaitAsync(stoppingToken);
        if (_term == 0) throw new InvalidOperationException("The silo was started without entering the store.");
        using var timer = new PeriodicTimer(RenewEvery, time);
        do
        {
            try
            {
                await KeepAsync(stoppingToken);
                _troubled = false;
            }
            catch (Exception e) when (e is not OperationCanceledException)
            {
                if (!_troubled) LogTrouble(Store, e.Message); // nobody else can take a store that is away
                _troubled = true;
            }
        }
        while (await timer.WaitForNextTickAsync(stoppingToken));
    }

    private async Task KeepAsync(CancellationToken cancellationToken)
    {
        var active = Active();
        if (!active.Contains(self.SiloAddress)) return; // it is leaving, or Orleans ends it
        var stored = await Blob.ReadAsync(cancellationToken);
        if (stored.Problem is { } problem) LogUnreadable(Store, problem.Message);
        var lease = stored.Lease;
        var watch = new Watch(lease, time.GetUtcNow())
        {
            Ours = lease?.Cluster == _cluster, SamePlace = lease?.Place == _place && lease.ClusterId == options.ClusterId,
            Speaks = self.SiloAddress.Equals(active.Min()), NamesSelf = lease?.Names([self.SiloAddress]) == true,
            NamesMember = lease?.Names(active) == true,
        };
        _foreignSince = lease is null || watch.Ours || watch.NamesMember ? null : _foreignSince ?? time.GetTimestamp();
        watch = watch with { ForeignFor = _foreignSince is { } since ? time.GetElapsedTime(since) : TimeSpan.Zero };
        switch (LeaseRules.Keep(watch))
        {
            case Upkeep.Write:
                var term = lease is null || watch.Ours ? _term : Math.Max(lease.Term, _term) + 1;
                await WriteAsync(stored, term, [.. active.Order().Select(Leased)], starting: false, cancellationToken);
                break;
            case Upkeep.Adopt:
                (_cluster, _term) = (lease!.Cluster, lease.Term);
                LogEntered(Store, _term);
                break;
            case Upkeep.End:
                ending.End($"silo {options.Name} ends: the store {Store} was taken by {lease}, and two clusters cannot work on one store");
                break;
        }
    }

    // The table of a cluster on localhost is in a silo, and can be asked only by silos: who joins one that answers is with it.
    private async Task<bool> NamesMemberAsync(ClusterLease lease, bool samePlace, CancellationToken cancellationToken)
    {
        if (options.Cluster is ClusterLocation.Localhost) return samePlace && options.PrimaryPort is not null;
        var table = (IMembershipTable)services.GetService(typeof(IMembershipTable))!;
        try
        {
            await table.InitializeMembershipTableAsync(true, cancellationToken);
            var rows = (await table.ReadAllAsync(cancellationToken)).Members.Select(static row => row.Item1);
            return lease.Names(rows.Where(static row => row.Status != SiloStatus.Dead).Select(static row => row.SiloAddress));
        }
        catch (Exception e) when (e is not OperationCanceledException)
        {
            var reason = e.Message.Split('\n', 2)[0].TrimEnd();
            throw new ClusterUnavailableException(
                $"the membership of cluster {options.ClusterId} at {options.Cluster} cannot be used: {reason}", e);
        }
    }

    private Task<bool> TakeAsync(StoredLease before, CancellationToken cancellationToken) =>
        WriteAsync(before, (before.Lease?.Term ?? 0) + 1, [Leased(self.SiloAddress)], starting: true, cancellationToken);

    // False where somebody else wrote first: what is there now is read again.
    private async Task<bool> WriteAsync(
        StoredLease before, long term, IReadOnlyList<LeasedSilo> silos, bool starting, CancellationToken cancellationToken)
    {
        var lease = new ClusterLease
        {
            Term = term, Cluster = _cluster, ClusterId = options.ClusterId, Place = _place, Starting = starting, Silos = silos,
            Expires = time.GetUtcNow() + (silos.Count > 0 ? ClusterLease.Duration : TimeSpan.Zero),
        };
        if (!await Blob.WriteAsync(lease, before, cancellationToken)) return false;
        _term = term;
        return true;
    }

    private HashSet<SiloAddress> Active() => membership.CurrentSnapshot.Members
        .Where(static member => member.Value.Status == SiloStatus.Active).Select(static member => member.Key).ToHashSet();

    // A loopback address means something on its machine alone; others mean the same everywhere.
    private static LeasedSilo Leased(SiloAddress silo) =>
        new(IPAddress.IsLoopback(silo.Endpoint.Address) ? Environment.MachineName : "", silo.ToParsableString());

    // What is on loopback is another one on each machine.
    private static string PlaceOf(SiloOptions options)
    {
        var here = Environment.MachineName;
        if (!options.Cluster.IsOutside) return $"{new IPEndPoint(options.Reached, options.PrimaryPort ?? options.SiloPort)} on {here}";
        return options.Cluster.IsOfThisMachine ? $"{options.Cluster} on {here}" : $"{options.Cluster}";
    }
}
