using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Sending;
using Orleans.Concurrency;

namespace FedRLora.Abstractions.Grains;

/// <summary>A site's part of one job: fans assignments out to its clients and bundles their reports.</summary>
[Alias("fedrlora.site")]
public interface ISiteGrain : IGrainWithStringKey
{
    /// <summary>Answers if the site has a live silo.</summary>
    [Alias("ping")]
    Task PingAsync(CancellationToken cancellationToken = default);

    /// <summary>Why the site does not let updates of these tensors leave and what to do, in one line; null where it does.</summary>
    [Alias("refuses"), AlwaysInterleave]
    Task<string?> RefusesAsync(IReadOnlyList<SentTensor> sent, CancellationToken cancellationToken = default);

    /// <summary>Begins a phase at this site, or sends it again to those that are silent.</summary>
    /// <exception cref="BadInputException">The plan would send what the site does not let leave.</exception>
    [Alias("accept")]
    Task AcceptAsync(SiteAssignment assignment, CancellationToken cancellationToken = default);

    /// <summary>Takes reports of this site's clients.</summary>
    [Alias("report")]
    Task ReportAsync(IReadOnlyList<ClientReport> reports, CancellationToken cancellationToken = default);

    /// <summary>Makes durable what this site's clients wrote, and looks whether each file is there with its size.</summary>
    /// <returns>What is missing, in one line, by client.</returns>
    /// <exception cref="Ports.StoreUnavailableException">A store cannot be used, so nothing can be said.</exception>
    [Alias("confirm"), AlwaysInterleave, ResponseTimeout("00:10:00")]
    Task<IReadOnlyDictionary<string, string>> ConfirmAsync(SiteConfirmation confirmation, CancellationToken cancellationToken = default);

    /// <summary>Stops what runs at this site for this job.</summary>
    [Alias("cancel")]
    Task CancelAsync(CancellationToken cancellationToken = default);

    /// <summary>Copies the heads and optimizer states that clients owned in a round of another job: the start of a fork.</summary>
    /// <exception cref="BadInputException">A head is not kept any more.</exception>
    [Alias("adopt"), ResponseTimeout("00:10:00")]
    Task AdoptAsync(string source, IReadOnlyList<ManifestClient> owners, CancellationToken cancellationToken = default);

    /// <summary>Compares the base of this silo and the rows of clients with what the run was made with.</summary>
    [Alias("check-inputs"), AlwaysInterleave, ResponseTimeout("00:10:00")]
    Task<InputsFound> CheckInputsAsync(InputsCheck check, CancellationToken cancellationToken = default);

    /// <summary>Writes the adapter of each named client in PEFT's layout into the site's store.</summary>
    /// <returns>The key prefix written, by client.</returns>
    [Alias("export"), AlwaysInterleave, ResponseTimeout("00:10:00")]
    Task<IReadOnlyDictionary<string, string>> ExportAsync(SiteAssignment committed, CancellationToken cancellationToken = default);
}
