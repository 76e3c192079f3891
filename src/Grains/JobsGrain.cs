using FedRLora.Abstractions;
using FedRLora.Abstractions.Grains;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Ports;

namespace FedRLora.Grains;

/// <summary>The jobs of a store. It remembers nothing: asking a coordinator activates it, and an activated coordinator goes on by itself.</summary>
internal sealed class JobsGrain(IBlobStores stores) : Grain, IJobsGrain
{
    public async Task<IReadOnlyList<JobProgress>> ListAsync(CancellationToken cancellationToken = default)
    {
        var jobs = new List<JobProgress>();
        await foreach (var key in stores.Job.ListAsync(Keys.Index, cancellationToken))
        {
            if (await GrainFactory.GetGrain<ICoordinatorGrain>(key[Keys.Index.Length..]).GetProgressAsync(int.MaxValue - 1, cancellationToken) is { } job) jobs.Add(job);
        }

        return jobs;
    }

    public async Task ReviveAsync(CancellationToken cancellationToken = default)
    {
        await foreach (var key in stores.Job.ListAsync(Keys.Index, cancellationToken))
        {
            // An entry that holds neither was changed on its disk; the job's own blobs say better what it is.
            if (await stores.Job.ReadBytesAsync(key, cancellationToken) is { } mark && !mark.AsSpan().SequenceEqual(Over))
                await GrainFactory.GetGrain<ICoordinatorGrain>(key[Keys.Index.Length..]).GetProgressAsync(int.MaxValue - 1, cancellationToken);
        }
    }

    /// <summary>What a job's entry in the list holds while it runs, and when it is over.</summary>
    internal static ReadOnlySpan<byte> Running => "running"u8;

    /// <inheritdoc cref="Running"/>
    internal static ReadOnlySpan<byte> Over => "over"u8;
}
