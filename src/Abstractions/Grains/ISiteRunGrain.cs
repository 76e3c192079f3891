using FedRLora.Abstractions.Messages;
using Orleans.Concurrency;

namespace FedRLora.Abstractions.Grains;

/// <summary>
/// What a site gives of a run beside its rounds: what belongs to the site is read, scored and prompted there and streamed from there.
/// Its key is that of <see cref="ISiteGrain"/>, and it runs on a silo of the site. Whoever calls has asked whether the caller may.
/// </summary>
[Alias("fedrlora.site-run")]
public interface ISiteRunGrain : IGrainWithStringKey
{
    /// <summary>The adapter of a client as files, made from the committed states.</summary>
    /// <exception cref="BadInputException">The method has no such form, or base or rows are not those of the run.</exception>
    [Alias("export"), AlwaysInterleave]
    IAsyncEnumerable<FilePiece> ExportAsync(
        SiteAssignment committed, string client, FormAsked form, CancellationToken cancellationToken = default);

    /// <summary>Scores the committed state of clients again, on the site's lane.</summary>
    /// <param name="committed">The committed round, with these clients alone as members.</param>
    /// <param name="cancellationToken">The caller's token.</param>
    [Alias("evaluate"), AlwaysInterleave, ResponseTimeout("01:00:00")]
    Task<IReadOnlyList<ClientScored>> EvaluateAsync(SiteAssignment committed, CancellationToken cancellationToken = default);

    /// <summary>Goes on from a prompt with a client's committed state, on the site's lane; piece by piece.</summary>
    [Alias("generate"), AlwaysInterleave]
    IAsyncEnumerable<string> GenerateAsync(
        SiteAssignment committed, string client, Prompt prompt, CancellationToken cancellationToken = default);

    /// <summary>What a client's last scoring said of each row, as the site keeps it; empty where it keeps none.</summary>
    [Alias("row-scores"), AlwaysInterleave]
    IAsyncEnumerable<FilePiece> RowScoresAsync(string client, CancellationToken cancellationToken = default);

    /// <summary>The step-level points of a client, one JSON object a line; empty where none are kept.</summary>
    [Alias("steps"), AlwaysInterleave]
    IAsyncEnumerable<FilePiece> StepsAsync(string client, CancellationToken cancellationToken = default);

    /// <summary>
    /// Checks what the site keeps of the run against the digests that the manifests name: heads, optimizer states, digests of rows,
    /// exports. What is in the job's store is checked by whoever asks. Null if there is no such run.
    /// </summary>
    [Alias("verify"), AlwaysInterleave, ResponseTimeout("01:00:00")]
    Task<RunReport?> VerifyAsync(CancellationToken cancellationToken = default);

    /// <summary>The last scores of this site's clients beside those of another run, row by row; without those it cannot compare.</summary>
    [Alias("compare"), AlwaysInterleave, ResponseTimeout("00:10:00")]
    Task<IReadOnlyDictionary<string, ScoreComparison>> CompareAsync(
        string other, IReadOnlyList<string> clients, CancellationToken cancellationToken = default);
}
