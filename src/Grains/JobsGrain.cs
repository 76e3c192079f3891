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

    public async Task ReviveAsync(CancellationToken cancellationToken = default) => await ListAsync(cancellationToken);
}
