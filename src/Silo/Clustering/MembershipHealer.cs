using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Orleans;
using Orleans.Runtime;

namespace FedRLora.Silo.Clustering;

/// <summary>
/// Looks at the membership every few seconds, since Orleans itself waits for up to a minute after a failure: reading it heals it. A
/// table that does not answer is waited for; one that answers and does not take this silo back ends it.
/// </summary>
internal sealed partial class MembershipHealer(
    SiloOptions options, HealingMembershipTable table, IClusterMembershipService membership, ILocalSiloDetails self,
    IHostApplicationLifetime lifetime, SiloEnding ending, TimeProvider time, ILogger<MembershipHealer> logger) : BackgroundService
{
    private static readonly TimeSpan LookEvery = TimeSpan.FromSeconds(5);
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);
    private static readonly TimeSpan ComesBackWithin = LookEvery * 3; // a silo that lives writes its row again
    private long? _refusedSince;
    private long? _missedSince; // a silo that Orleans takes for active, and that the table does not hold
    private int _healed;
    private bool _away;

    /// <inheritdoc/>
    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        var started = new TaskCompletionSource();
        using var registration = lifetime.ApplicationStarted.Register(started.SetResult);
        await started.Task.WaitAsync(stoppingToken);
        using var timer = new PeriodicTimer(LookEvery, time);
        while (await timer.WaitForNextTickAsync(stoppingToken)) await LookAsync(stoppingToken);
    }

    /// <summary>Looks once.</summary>
    internal async Task LookAsync(CancellationToken cancellationToken)
    {
        try
        {
            var found = await table.ReadAllAsync(cancellationToken);
            _refusedSince = null;
            if (table.Healed > _healed)
            {
                LogHealed($"{options.Cluster}");
                if (options.Cluster is ClusterLocation.AzureTable tables)
                    await TableMembership.RestoreRemindersAsync(tables, cancellationToken);
            }
            else if (_away) LogBack($"{options.Cluster}");
            (_healed, _away) = (table.Healed, false);
            var alive = new MembershipEntry { SiloAddress = self.SiloAddress, IAmAliveTime = time.GetUtcNow().UtcDateTime };
            await table.UpdateIAmAliveAsync(alive, cancellationToken);
            if (HasMissedFor(found, ComesBackWithin))
            {
                // It died as the table came back without it. Nobody can declare a silo dead that is in no table; who reads a newer one
                // drops it.
                await table.RaiseAsync(membership.CurrentSnapshot.Version.Value, cancellationToken);
                found = await table.ReadAllAsync(cancellationToken);
            }

            var version = new MembershipVersion(found.Version.Version);
            if (membership.CurrentSnapshot.Version < version) await membership.Refresh(version, cancellationToken);
        }
        catch (RowNotWrittenException e)
        {
            _refusedSince ??= time.GetTimestamp();
            if (time.GetElapsedTime(_refusedSince.Value) < Patience) return;
            ending.End($"silo {options.Name} ends: its row has vanished from the membership at {options.Cluster} "
                + $"and cannot be written again: {e.Message}");
        }
        catch (Exception e) when (e is not OperationCanceledException)
        {
            _refusedSince = null;
            if (!_away) LogAway($"{options.Cluster}", e.Message.Split('\n', 2)[0].TrimEnd());
            _away = true;
        }
    }

    private bool HasMissedFor(MembershipTableData found, TimeSpan patience)
    {
        var snapshot = membership.CurrentSnapshot;
        var misses = found.Version.Version <= snapshot.Version.Value
            && snapshot.Members.Values.Any(member => member.Status == SiloStatus.Active && found.TryGet(member.SiloAddress) is null);
        _missedSince = misses ? _missedSince ?? time.GetTimestamp() : null;
        return _missedSince is { } since && time.GetElapsedTime(since) >= patience;
    }

    [LoggerMessage(511, LogLevel.Warning, "The membership at {Place} had lost rows; they are written again")]
    private partial void LogHealed(string place);

    [LoggerMessage(512, LogLevel.Warning, "The membership at {Place} does not answer, work goes on without it: {Reason}")]
    private partial void LogAway(string place, string reason);

    [LoggerMessage(513, LogLevel.Information, "The membership at {Place} answers again")]
    private partial void LogBack(string place);
}
