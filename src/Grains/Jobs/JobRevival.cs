using FedRLora.Abstractions;
using FedRLora.Abstractions.Grains;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Orleans.Runtime;

namespace FedRLora.Grains.Jobs;

/// <summary>
/// Brings back what a lost silo took with it: at once when the membership says that a silo is gone, at start-up, and now and
/// then for whatever those missed. Asking a coordinator activates it, and an activated coordinator goes on by itself.
/// </summary>
internal sealed partial class JobRevival(
    IGrainFactory grains, IClusterMembershipService membership, ILocalSiloDetails self, IHostApplicationLifetime lifetime,
    GrainSettings settings, TimeProvider time, ILogger<JobRevival> logger) : BackgroundService
{
    private const int MostQuestions = 15;
    private static readonly TimeSpan AskAgainAfter = TimeSpan.FromSeconds(1);

    private readonly Retry<bool> _patience = new(
        time, after: static _ => false, pause: static (_, _) => AskAgainAfter, most: MostQuestions - 1, enough: static heard => heard);

    private IJobsGrain Jobs => grains.GetGrain<IJobsGrain>(Keys.Jobs);

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        var active = new TaskCompletionSource();
        using var started = lifetime.ApplicationStarted.Register(active.SetResult); // no grain can be placed before the silo is active
        await active.Task.WaitAsync(stoppingToken);
        // Neither ends but by an error, which is the host's to hear.
        await await Task.WhenAny(AskNowAndThenAsync(stoppingToken), AskAfterLossesAsync(stoppingToken));
    }

    private async Task AskNowAndThenAsync(CancellationToken stopping)
    {
        using var timer = new PeriodicTimer(settings.ReviveEvery, time);
        do await TryAsync(static (jobs, token) => jobs.ReviveAsync(token), stopping);
        while (await timer.WaitForNextTickAsync(stopping));
    }

    private async Task AskAfterLossesAsync(CancellationToken stopping)
    {
        var before = Active(membership.CurrentSnapshot);
        await foreach (var snapshot in membership.MembershipUpdates.WithCancellation(stopping))
        {
            var (now, lost) = (Active(snapshot), false);
            foreach (var member in before.Values.ExceptBy(now.Keys, static member => member.SiloAddress))
            {
                LogLost(member.Name);
                lost = true;
            }

            before = now;
            // One silo speaks for all; should it be lost in its turn, that is news to the next one.
            if (!lost || !self.SiloAddress.Equals(now.Keys.Min())) continue;
            await _patience.RunAsync((_, token) => TryAsync(static (jobs, token) => jobs.AskAgainAsync(token), token), stopping);
        }
    }

    private static Dictionary<SiloAddress, ClusterMember> Active(ClusterMembershipSnapshot snapshot) =>
        snapshot.Members.Values.Where(static member => member.Status == SiloStatus.Active)
            .ToDictionary(static member => member.SiloAddress);

    private async Task<bool> TryAsync(Func<IJobsGrain, CancellationToken, Task> ask, CancellationToken stopping)
    {
        try
        {
            await ask(Jobs, stopping);
            return true;
        }
        catch (Exception e) when (e is OrleansException or IOException or UnauthorizedAccessException || Unanswered.Is(e, stopping))
        {
            // What Orleans says of a lost silo holds stack traces, and times that make each line another one.
            LogNotRevived(e is OrleansException or TimeoutException or OperationCanceledException
                ? $"the silo that should answer is gone ({e.GetType().Name}); they are asked again"
                : e.Message.Split('\n', 2)[0].TrimEnd());
            return false;
        }
    }

    [LoggerMessage(401, LogLevel.Warning, "Jobs were not asked for: {Reason}")]
    private partial void LogNotRevived(string reason);

    [LoggerMessage(402, LogLevel.Information, "Silo {Silo} is gone; what ran there begins again elsewhere")]
    private partial void LogLost(string silo);
}
