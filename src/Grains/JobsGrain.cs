using FedRLora.Abstractions;
using FedRLora.Abstractions.Grains;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Ports;
using Microsoft.Extensions.Logging;

namespace FedRLora.Grains;

/// <summary>The jobs of a store. It remembers nothing: asking a coordinator activates it, and an activated coordinator goes on by itself.</summary>
internal sealed partial class JobsGrain(IBlobStores stores, ILogger<JobsGrain> logger) : Grain, IJobsGrain
{
    public async Task<IReadOnlyList<JobProgress>> ListAsync(CancellationToken cancellationToken = default)
    {
        var jobs = new List<JobProgress>();
        await foreach (var key in stores.Job.ListAsync(Keys.Index, cancellationToken))
        {
            if (await AskAsync(key[Keys.Index.Length..], cancellationToken) is { } job) jobs.Add(job);
        }

        return jobs;
    }

    public async Task ReviveAsync(CancellationToken cancellationToken = default)
    {
        await foreach (var key in stores.Job.ListAsync(Keys.Index, cancellationToken))
        {
            // An entry that holds neither was changed on its disk; the job's own blobs say better what it is.
            if (await stores.Job.ReadBytesAsync(key, cancellationToken) is { } mark && !mark.AsSpan().SequenceEqual(Over))
                await AskAsync(key[Keys.Index.Length..], cancellationToken);
        }
    }

    // A job whose blobs were changed keeps nobody from the others.
    private async Task<JobProgress?> AskAsync(string job, CancellationToken cancellationToken)
    {
        try
        {
            return await GrainFactory.GetGrain<ICoordinatorGrain>(job).GetProgressAsync(int.MaxValue - 1, cancellationToken);
        }
        catch (Exception e) when (RefusalIn(e) is not null)
        {
            var refusal = RefusalIn(e)!;
            LogRefused(job, refusal.Message);
            return new JobProgress { JobId = job, Name = job, Status = JobStatus.Failed, Reason = refusal.Message, Rounds = 0, Round = 0, Attempt = 0, Phase = "idle", Reported = 0, Cohort = 0, NewRounds = [] };
        }
    }

    private static Exception? RefusalIn(Exception? exception) =>
        exception is null or CorruptBlobException or BadInputException ? exception : RefusalIn(exception.InnerException);

    /// <summary>What a job's entry in the list holds while it runs, and when it is over.</summary>
    internal static ReadOnlySpan<byte> Running => "running"u8;

    /// <inheritdoc cref="Running"/>
    internal static ReadOnlySpan<byte> Over => "over"u8;
}
