using System.Text;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Grains;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Ports;
using FedRLora.Federation.Rounds;
using FedRLora.Grains.Runs;
using FedRLora.Grains.Store;
using Orleans.Concurrency;
using Orleans.Runtime;

namespace FedRLora.Grains.Coordination;

/// <summary>
/// Runs one job. Calls put events into a queue and return; one loop takes them through <see cref="RoundMachine"/> and has the effects
/// performed in their order. <see cref="Submission"/> is how a job begins, <see cref="JobOpening"/> how an activation takes it up.
/// </summary>
internal sealed class CoordinatorGrain : Grain, IRunControlGrain, IRunReportingGrain, IRunFollowingGrain, IDisposable
{
    private readonly CoordinatorServices _services;
    private readonly IPersistentState<JobMemory> _memory;
    private readonly SiteCalls _sites;
    private readonly JobMark _mark;
    private readonly InputAgreement _inputs;
    private readonly Submission _submission;
    private readonly JobOpening _opening;
    private ActiveJob? _active; // null where there is no such job

    public CoordinatorGrain(
        [PersistentState("job", FederationSiloBuilderExtensions.StorageName)] IPersistentState<JobMemory> memory,
        CoordinatorServices services)
    {
        var name = this.GetPrimaryKeyString();
        (_services, _memory) = (services, memory);
        _sites = new SiteCalls(services, name);
        _mark = new JobMark(services.Store, name);
        _inputs = new InputAgreement(services, name, memory, _sites);
        _submission = new Submission(services, this, name, memory, _sites, _inputs, _mark);
        _opening = new JobOpening(services, this, name, memory, _sites, _inputs, _mark);
    }

    private string Name => this.GetPrimaryKeyString();

    public override async Task OnActivateAsync(CancellationToken cancellationToken)
    {
        var store = _services.Store;
        var plan = await StoredPlans.NewestAsync(store, Name, cancellationToken);
        if (plan is null && await new CommitLog(store, Name).ReadAsync(cancellationToken) is not null)
            plan = await StoredPlans.NewestAsync(store, Name, cancellationToken) ?? throw StoredPlans.Missing(Name);
        if (plan is var (blob, _, _)) _active = await _opening.OpenAsync(blob, cancellationToken);
    }

    public override Task OnDeactivateAsync(DeactivationReason reason, CancellationToken cancellationToken) =>
        _active?.Events.StopAsync() ?? Task.CompletedTask;

    public void Dispose()
    {
        _active?.Telemetry.Dispose();
        _active?.Events.Dispose();
    }

    // How a job begins.

    public Task SubmitAsync(string planYaml, CancellationToken cancellationToken = default) =>
        SubmitAsync(planYaml, localOnly: true, cancellationToken);

    public async Task SubmitAsync(string planYaml, bool localOnly, CancellationToken cancellationToken = default) =>
        await BeginAsync(await _submission.SubmitAsync(_active?.Job, planYaml, localOnly, cancellationToken), cancellationToken);

    public async Task ForkAsync(
        string source, int round, string planYaml, bool allowDataChange = false, CancellationToken cancellationToken = default)
    {
        var plan = await _submission.ForkAsync(_active?.Job, source, round, planYaml, allowDataChange, cancellationToken);
        await BeginAsync(plan, cancellationToken);
    }

    public async Task BeginForkAsync(string planYaml, CancellationToken cancellationToken = default) =>
        await BeginAsync(await _submission.BeginForkAsync(_active?.Job, planYaml, cancellationToken), cancellationToken);

    public Task ExtendAsync(string planYaml, bool allowDataChange = false, CancellationToken cancellationToken = default) =>
        _submission.ExtendAsync(Require(), planYaml, allowDataChange, cancellationToken);

    private async Task BeginAsync(BlobRef? plan, CancellationToken cancellationToken)
    {
        if (plan is not null) _active = await _opening.OpenAsync(plan, cancellationToken);
    }

    // How it is run.

    public Task PauseAsync(CancellationToken cancellationToken = default)
    {
        var active = Require();
        if (active.Job.State.Phase is Phase.Finished or Phase.Failed or Phase.Cancelled)
            throw new BadInputException($"Run {Name} is over ({active.Job.StatusName}); there is nothing to pause.");
        return PostAsync(active, new RoundEvent.Paused());
    }

    public Task ResumeAsync(bool allowEngineChange, bool allowDataChange = false, CancellationToken cancellationToken = default) =>
        new ResumeCall(_services, _memory, Require(), _inputs, _sites, _mark)
            .ResumeAsync(allowEngineChange, allowDataChange, cancellationToken);

    public Task CancelAsync(CancellationToken cancellationToken = default) => PostAsync(Require(), new RoundEvent.Cancelled());

    // What is not to be written down anywhere is not accepted.
    private static Task PostAsync(ActiveJob active, RoundEvent asked)
    {
        if (active.Job.Gate.StoreTrouble is { } trouble) throw new StoreUnavailableException(trouble);
        active.Events.Post(asked);
        return Task.CompletedTask;
    }

    // What it has made, and where it stands.

    public Task<IReadOnlyDictionary<string, string>> ExportAsync(CancellationToken cancellationToken = default) =>
        _sites.ExportAsync(Require().Job, cancellationToken);

    public async Task<string?> GetPlanAsync(CancellationToken cancellationToken = default) => _active is { Job: var job }
        ? Encoding.UTF8.GetString(await _services.Store.ReadBytesAsync(job.PlanBlob, cancellationToken))
        : null;

    public async Task<JobProgress?> GetProgressAsync(int afterRound, CancellationToken cancellationToken = default) => _active is { } active
        ? await new ProgressAnswer(_services, active.Job, active.Clock).AnswerAsync(afterRound, cancellationToken)
        : null;

    public async Task<RunNews?> FollowAsync(
        RunPosition? after, TimeSpan patience, CancellationToken cancellationToken = default) => _active is { } active
        ? await new RunFollowing(_services, active).FollowAsync(after, patience, cancellationToken)
        : null;

    public Task<IReadOnlyList<SiteAssignment>> CommittedAsync(CancellationToken cancellationToken = default) => Require().Job switch
    {
        { Committed: null } => throw new BadInputException($"Run {Name} has committed nothing yet."),
        var job => Task.FromResult<IReadOnlyList<SiteAssignment>>([.. job.CommittedBySite().Select(static site => site.Committed)]),
    };

    // What sites and silos say.

    public Task ReportAsync(SiteReport report, CancellationToken cancellationToken = default)
    {
        if (SiteProtocol.Refusal($"Site {report.Site}", report.Protocol) is { } unknown)
            throw new BadInputException($"Run {Name}: {unknown}");
        _active?.Cohort.Hear(report);
        return Task.CompletedTask;
    }

    public Task AskAgainAsync(CancellationToken cancellationToken = default)
    {
        if (_active is { Job.Gate.Changed: null, Events: var events }) events.Post(new RoundEvent.ResendDue());
        return Task.CompletedTask;
    }

    private ActiveJob Require() => _active ?? throw new BadInputException($"There is no run {Name} in this store.");
}
