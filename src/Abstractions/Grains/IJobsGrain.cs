using FedRLora.Abstractions.Messages;

namespace FedRLora.Abstractions.Grains;

/// <summary>The jobs of a cluster; one grain, key "jobs".</summary>
[Alias("fedrlora.jobs")]
public interface IJobsGrain : IGrainWithStringKey
{
    /// <summary>Every job in the store, without its rounds.</summary>
    [Alias("list")]
    Task<IReadOnlyList<JobProgress>> ListAsync(CancellationToken cancellationToken = default);

    /// <summary>Continues every job that was running when its silo went away.</summary>
    [Alias("revive")]
    Task ReviveAsync(CancellationToken cancellationToken = default);

    /// <summary>Continues every job that should run, and has each ask again whoever has not reported.</summary>
    [Alias("ask-again")]
    Task AskAgainAsync(CancellationToken cancellationToken = default);
}
