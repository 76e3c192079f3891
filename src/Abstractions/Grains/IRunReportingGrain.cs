using FedRLora.Abstractions.Messages;

namespace FedRLora.Abstractions.Grains;

/// <summary>What sites and silos say to the coordinator of one job; its key is the job id.</summary>
[Alias("fedrlora.run-reporting")]
public interface IRunReportingGrain : IGrainWithStringKey
{
    /// <summary>Takes reports of a site's clients, in any order and as often as they come.</summary>
    [Alias("report")]
    Task ReportAsync(SiteReport report, CancellationToken cancellationToken = default);

    /// <summary>Asks whoever has not reported once more, now: a silo is gone, and what ran there has to begin elsewhere.</summary>
    [Alias("ask-again")]
    Task AskAgainAsync(CancellationToken cancellationToken = default);
}
