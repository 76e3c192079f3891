using FedRLora.Abstractions.Messages;
using Orleans.Concurrency;

namespace FedRLora.Abstractions.Grains;

/// <summary>Control of one job, by whoever runs it; its key is the job id.</summary>
[Alias("fedrlora.run-control")]
public interface IRunControlGrain : IGrainWithStringKey
{
    /// <summary>Stores the plan and begins. The same plan again changes nothing.</summary>
    /// <exception cref="BadInputException">The plan has mistakes, or the job exists with another plan.</exception>
    [Alias("submit")]
    Task SubmitAsync(string planYaml, CancellationToken cancellationToken = default);

    /// <summary>
    /// The same with a word on the local-only reference that a plan may ask for: without one the run begins it when it is finished.
    /// </summary>
    /// <param name="planYaml">The plan.</param>
    /// <param name="localOnly">Whether the reference comes if the plan asks for it. The plan and its digest stay as they are.</param>
    /// <param name="cancellationToken">The caller's token.</param>
    /// <exception cref="BadInputException">
    /// The plan has mistakes, or the job exists with another plan; the reference's name would be too long, or is another run's.
    /// </exception>
    [Alias("submit-with-word")]
    Task SubmitAsync(string planYaml, bool localOnly, CancellationToken cancellationToken = default);

    /// <summary>
    /// Stores the plan and begins where round <paramref name="round"/> of run <paramref name="source"/> ended: with its shared state,
    /// its server optimizer's state, and the heads its clients owned then.
    /// </summary>
    /// <exception cref="BadInputException">
    /// The plan has mistakes or another model or adapter, or the round or its heads are not there, or base or rows have changed.
    /// </exception>
    [Alias("fork"), ResponseTimeout("00:10:00")]
    Task ForkAsync(string source, int round, string planYaml, bool allowDataChange = false, CancellationToken cancellationToken = default);

    /// <summary>Stores the plan and begins where the job's store already says: the start of a fork was copied from another store.</summary>
    /// <exception cref="BadInputException">The plan has mistakes, or nothing was copied.</exception>
    [Alias("begin-fork")]
    Task BeginForkAsync(string planYaml, CancellationToken cancellationToken = default);

    /// <summary>
    /// Replaces the plan by one that differs in having more rounds; a finished run goes on at once, a stopped one when it is resumed.
    /// </summary>
    /// <exception cref="BadInputException">Something else differs, there are not more rounds, or base or rows have changed.</exception>
    [Alias("extend"), ResponseTimeout("00:10:00")]
    Task ExtendAsync(string planYaml, bool allowDataChange = false, CancellationToken cancellationToken = default);

    /// <summary>The plan's text; null if there is no such job.</summary>
    [Alias("plan"), ReadOnly, AlwaysInterleave]
    Task<string?> GetPlanAsync(CancellationToken cancellationToken = default);

    /// <summary>Stops what is in flight until the job is resumed; what has been reported is kept.</summary>
    [Alias("pause")]
    Task PauseAsync(CancellationToken cancellationToken = default);

    /// <summary>Goes on after the last committed round, also after a pause, a cancellation or a failure.</summary>
    /// <param name="allowEngineChange">Whether another engine fingerprint is accepted; it is then recorded.</param>
    /// <param name="allowDataChange">Whether another base and other rows than the run was made with are accepted; the change is then
    /// recorded.</param>
    /// <param name="cancellationToken">The caller's token.</param>
    /// <exception cref="BadInputException">Engine, base or rows have changed; the message names which.</exception>
    [Alias("resume"), ResponseTimeout("00:10:00")]
    Task ResumeAsync(bool allowEngineChange, bool allowDataChange = false, CancellationToken cancellationToken = default);

    /// <summary>Stops after what is in flight; committed rounds are kept.</summary>
    [Alias("cancel")]
    Task CancelAsync(CancellationToken cancellationToken = default);

    /// <summary>Has every site write its clients' adapters of the last committed round in PEFT's layout into its own store.</summary>
    /// <returns>The key prefix written, by client.</returns>
    /// <exception cref="BadInputException">Nothing is committed, or the method has no static form; the message says why.</exception>
    [Alias("export"), AlwaysInterleave, ResponseTimeout("00:10:00")]
    Task<IReadOnlyDictionary<string, string>> ExportAsync(CancellationToken cancellationToken = default);

    /// <summary>Where the job stands; null if there is no such job.</summary>
    /// <param name="afterRound">The last round the caller has seen; -1 for none.</param>
    /// <param name="cancellationToken">The caller's token.</param>
    [Alias("progress"), ReadOnly, AlwaysInterleave]
    Task<JobProgress?> GetProgressAsync(int afterRound, CancellationToken cancellationToken = default);
}
