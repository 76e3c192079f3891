using FedRLora.Abstractions.Messages;
using Orleans.Concurrency;

namespace FedRLora.Abstractions.Grains;

/// <summary>A run as listeners follow it; its key is the job id, and whoever runs the job answers.</summary>
[Alias("fedrlora.run-following")]
public interface IRunFollowingGrain : IGrainWithStringKey
{
    /// <summary>What happened after a position, as soon as there is something; null if there is no such run.</summary>
    /// <param name="after">The position; null for a listener that knows nothing.</param>
    /// <param name="patience">How long to wait for something to happen, at most 20 s.</param>
    /// <param name="cancellationToken">The caller's token.</param>
    [Alias("follow"), ReadOnly, AlwaysInterleave, ResponseTimeout("00:01:00")]
    Task<RunNews?> FollowAsync(RunPosition? after, TimeSpan patience, CancellationToken cancellationToken = default);

    /// <summary>What every site needs to work on the last committed round: the states its clients own, and those they share.</summary>
    /// <exception cref="BadInputException">Nothing is committed.</exception>
    [Alias("committed"), ReadOnly, AlwaysInterleave]
    Task<IReadOnlyList<SiteAssignment>> CommittedAsync(CancellationToken cancellationToken = default);
}
