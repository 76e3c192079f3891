using System.Runtime.ExceptionServices;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Grains;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Ports;
using FedRLora.Grains.Store;
using Microsoft.Extensions.Logging;
using Orleans.Runtime;

namespace FedRLora.Grains.Jobs;

/// <summary>
/// The jobs of a store. It remembers nothing: asking a coordinator activates it, and an activated coordinator goes on by itself.
/// </summary>
internal sealed partial class JobsGrain(IBlobStores stores, GrainSettings settings, TimeProvider time, ILogger<JobsGrain> logger)
    : Grain, IJobsGrain, IRemindable
{
    private const string Revival = "revive";
    private const int AtOnce = 32;
    private const int MostQuestions = 5;
    private static readonly TimeSpan AskAgainAfter = TimeSpan.FromMilliseconds(500);
    private static readonly TimeSpan RemindEvery = TimeSpan.FromMinutes(1); // the shortest period there is

    // The silo of a coordinator is gone, and another takes over.
    private readonly Retry<JobProgress?> _patience = new(
        time, static e => e is not TimeoutException && Unanswered.Is(e), static (_, _) => AskAgainAfter,
        most: MostQuestions - 1);

    public async Task<IReadOnlyList<JobProgress>> ListAsync(CancellationToken cancellationToken = default)
    {
        var names = new List<string>();
        await foreach (var key in stores.Job.ListAsync(Keys.Index, cancellationToken)) names.Add(key[Keys.Index.Length..]);
        var jobs = new List<JobProgress>(names.Count);
        foreach (var some in names.Chunk(AtOnce))
            jobs.AddRange((await Task.WhenAll(some.Select(name => AskAsync(name, cancellationToken)))).OfType<JobProgress>());
        return jobs;
    }

    public async Task ReviveAsync(CancellationToken cancellationToken = default)
    {
        await RemindAsync();
        await ForEachRunningAsync((job, token) => ControlOf(job).GetProgressAsync(int.MaxValue - 1, token), cancellationToken);
    }

    public Task AskAgainAsync(CancellationToken cancellationToken = default) =>
        ForEachRunningAsync(
            (job, token) => GrainFactory.GetGrain<IRunReportingGrain>(job).AskAgainAsync(token), cancellationToken);

    public Task ReceiveReminder(string reminderName, TickStatus status) => ReviveAsync();

    // A job whose blobs were changed keeps nobody from the others.
    private async Task<JobProgress?> AskAsync(string job, CancellationToken cancellationToken)
    {
        try
        {
            return await _patience.RunAsync(
                (_, token) => ControlOf(job).GetProgressAsync(int.MaxValue - 1, token), cancellationToken);
        }
        catch (Exception e) when (CorruptBlobException.OrBadInputIn(e) is not null)
        {
            var refusal = CorruptBlobException.OrBadInputIn(e)!;
            LogRefused(job, refusal.Message);
            return new JobProgress
            {
                JobId = job, Name = job, Status = JobStatus.Failed, Reason = refusal.Message,
                Rounds = 0, Round = 0, Attempt = 0, Phase = "idle", Reported = 0, Cohort = 0, NewRounds = [],
                Hold = new Hold { Kind = HoldKind.Failed, Lines = [refusal.Message] },
            };
        }
    }

    /// <summary>What a job's entry in the list holds while it runs, and when it is over.</summary>
    internal static ReadOnlySpan<byte> Running => "running"u8;

    /// <inheritdoc cref="Running"/>
    internal static ReadOnlySpan<byte> Over => "over"u8;

    private IRunControlGrain ControlOf(string job) => GrainFactory.GetGrain<IRunControlGrain>(job);

    private async Task ForEachRunningAsync(Func<string, CancellationToken, Task> ask, CancellationToken cancellationToken)
    {
        Exception? unheard = null;
        await foreach (var key in stores.Job.ListAsync(Keys.Index, cancellationToken))
        {
            var mark = await stores.Job.ReadBytesAsync(key, cancellationToken);
            if (mark is null || mark.AsSpan().SequenceEqual(Over)) continue; // a changed entry: the job's own blobs say better what it is
            try
            {
                await ask(key[Keys.Index.Length..], cancellationToken);
            }
            catch (Exception e) when (Unanswered.Is(e, cancellationToken))
            {
                unheard ??= e; // its silo is gone and not yet known to be: the caller asks again
            }
            catch (Exception e) when (CorruptBlobException.OrBadInputIn(e) is { } refusal)
            {
                LogRefused(key[Keys.Index.Length..], refusal.Message); // a job whose blobs were changed keeps nobody from the others
            }
            catch (Exception e) when (e is not OperationCanceledException)
            {
                LogNotRevived(key[Keys.Index.Length..], e); // this job cannot be opened, which is no reason to leave the next one
            }
        }

        if (unheard is not null) ExceptionDispatchInfo.Throw(unheard);
    }

    // The table outlives the silos, so that a job comes back even if no silo thinks of asking; the table's store may come back empty.
    private async Task RemindAsync()
    {
        if (!settings.Reminders) return;
        try
        {
            if (await this.GetReminder(Revival) is null) await this.RegisterOrUpdateReminder(Revival, RemindEvery, RemindEvery);
        }
        catch (Exception e) when (e is not OperationCanceledException)
        {
            LogNotReminded(e.Message); // the table cannot be reached: jobs go on without it, and the next revival tries again
        }
    }
}
