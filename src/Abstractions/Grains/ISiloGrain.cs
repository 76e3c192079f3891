using FedRLora.Abstractions.Messages;

namespace FedRLora.Abstractions.Grains;

/// <summary>A silo by its own name: it runs on that silo and nowhere else.</summary>
[Alias("fedrlora.silo")]
public interface ISiloGrain : IGrainWithStringKey
{
    /// <summary>What it is and how it is.</summary>
    [Alias("describe")]
    Task<SiloNow> DescribeAsync(CancellationToken cancellationToken = default);

    /// <summary>Lines of its log after one.</summary>
    /// <param name="run">Those about this run; null for all.</param>
    /// <param name="after">The number of the last line that is known; 0 for none.</param>
    /// <param name="most">How many, at most 2,000.</param>
    /// <param name="cancellationToken">The caller's token.</param>
    [Alias("logs")]
    Task<LogLines> LogsAsync(string? run, long after, int most, CancellationToken cancellationToken = default);
}
