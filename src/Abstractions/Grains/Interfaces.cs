using FedRLora.Abstractions.Messages;
using Orleans.Concurrency;

namespace FedRLora.Abstractions.Grains;

/// <summary>Runs one job; its key is the job id. It performs the effects of the round machine and does nothing else.</summary>
[Alias("fedrlora.coordinator")]
public interface ICoordinatorGrain : IGrainWithStringKey
{
    /// <summary>Stores the plan and begins. The same plan again changes nothing.</summary>
    /// <exception cref="BadInputException">The plan has mistakes, or the job exists with another plan.</exception>
    [Alias("submit")]
    Task SubmitAsync(string planYaml, CancellationToken cancellationToken = default);

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

    /// <summary>Replaces the plan by one that differs in having more rounds; a finished run goes on at once, a stopped one when it is resumed.</summary>
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

    /// <summary>Takes reports of a site's clients, in any order and as often as they come.</summary>
    [Alias("report")]
    Task ReportAsync(SiteReport report, CancellationToken cancellationToken = default);

    /// <summary>Asks whoever has not reported once more, now: a silo is gone, and what ran there has to begin elsewhere.</summary>
    [Alias("ask-again")]
    Task AskAgainAsync(CancellationToken cancellationToken = default);

    /// <summary>Where the job stands; null if there is no such job.</summary>
    /// <param name="afterRound">The last round the caller has seen; -1 for none.</param>
    /// <param name="cancellationToken">The caller's token.</param>
    [Alias("progress"), ReadOnly, AlwaysInterleave]
    Task<JobProgress?> GetProgressAsync(int afterRound, CancellationToken cancellationToken = default);
}

/// <summary>A site's part of one job: fans assignments out to its clients and bundles their reports.</summary>
[Alias("fedrlora.site")]
public interface ISiteGrain : IGrainWithStringKey
{
    /// <summary>Answers if the site has a live silo.</summary>
    [Alias("ping")]
    Task PingAsync(CancellationToken cancellationToken = default);

    /// <summary>Begins a phase at this site, or sends it again to those that are silent.</summary>
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

    /// <summary>Writes the adapter of each named client in PEFT's layout into the site's store; returns the keys written, by client.</summary>
    [Alias("export"), AlwaysInterleave, ResponseTimeout("00:10:00")]
    Task<IReadOnlyDictionary<string, string>> ExportAsync(SiteAssignment committed, CancellationToken cancellationToken = default);
}

/// <summary>A task client. As the first member of its group it leads the group's work on its silo's lane.</summary>
[Alias("fedrlora.client")]
public interface IClientGrain : IGrainWithStringKey
{
    /// <summary>Begins the group's work at once and reports later. Work that is finished is answered again.</summary>
    [Alias("accept")]
    Task AcceptAsync(SiteAssignment assignment, CancellationToken cancellationToken = default);

    /// <summary>Abandons what runs.</summary>
    [Alias("cancel")]
    Task CancelAsync(CancellationToken cancellationToken = default);
}

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
