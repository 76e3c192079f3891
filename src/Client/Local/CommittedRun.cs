using System.Text;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;
using FedRLora.Abstractions.Tensors;
using FedRLora.Grains.Exports;
using FedRLora.Grains.Inputs;
using FedRLora.Grains.Runs;
using FedRLora.Grains.Store;
using FedRLora.Silo.Storage;
using FedRLora.Training.Adapters.Peft;
using FedRLora.Training.Inputs;

namespace FedRLora.Client.Local;

/// <summary>
/// What the run in a folder has committed, read without a silo: to ask a coordinator would set an unfinished run going again.
/// Every blob is checked against the digest that the manifest names.
/// </summary>
internal sealed class CommittedRun
{
    private const int Tries = 20;
    private const long MostHeadBytes = 1L << 30; // more stay in the store until they are asked for

    private readonly RunDirectory _run;
    private readonly DirectoryBlobStore _store;
    private readonly IndexedPlan _plan;
    private readonly Dictionary<string, AdapterState> _heads = new(StringComparer.Ordinal);
    private readonly Dictionary<string, AdapterState> _tasks = new(StringComparer.Ordinal);

    private CommittedRun(RunDirectory run, DirectoryBlobStore store, IndexedPlan plan, RoundManifest manifest, AdapterState shared) =>
        (_run, _store, _plan, Manifest, Shared) = (run, store, plan, manifest, shared);

    public FederationPlan Plan => _plan.Plan;

    /// <summary>The last committed round.</summary>
    public RoundManifest Manifest { get; }

    /// <summary>Its shared state.</summary>
    public AdapterState Shared { get; }

    /// <exception cref="BadInputException">Nothing is committed.</exception>
    /// <exception cref="CorruptBlobException">A blob is not what it should be.</exception>
    public static async Task<CommittedRun> OpenAsync(RunDirectory run, CancellationToken cancellationToken)
    {
        run.RequireStore();
        run.RequireRoot();
        var store = run.OpenStore();
        var log = new CommitLog(store, run.Record.Plan);
        for (var tries = 1; ; tries++)
        {
            var current = await log.ReadAsync(cancellationToken)
                ?? throw new BadInputException($"{run.Path}: nothing is committed yet; go on with: {OwnCommand.Line("resume", run.Path)}");
            try
            {
                var manifest = await log.ManifestAsync(current.Round, current.ManifestSha256, cancellationToken);
                return await ReadAsync(run, store, manifest, cancellationToken);
            }
            catch (CorruptBlobException) when (tries < Tries)
            {
                // Of a run that is going on: the next round was committed meanwhile, and this one's blobs are gone.
                if (await log.ReadAsync(cancellationToken) == current) throw;
            }
        }
    }

    private static async Task<CommittedRun> ReadAsync(
        RunDirectory run, DirectoryBlobStore store, RoundManifest manifest, CancellationToken cancellationToken)
    {
        var job = run.Record.Plan;
        var yaml = await StoredPlans.FindAsync(store, job, manifest.PlanSha256, cancellationToken);
        var plan = new IndexedPlan(PlanReader.Require(Encoding.UTF8.GetString(yaml), run.PlanPath));
        PlanText.RequireValues(plan.Plan, run.Path, manifest.Engine);
        var shared = await store.ReadStateAsync(manifest.SharedOf(job), cancellationToken);
        var committed = new CommittedRun(run, store, plan, manifest, shared);
        var ofTasks = (manifest.Tasks ?? []).Sum(static task => task.Shared.SizeBytes);
        if (ofTasks + manifest.Clients.Sum(static client => client.Head?.SizeBytes ?? 0) > MostHeadBytes) return committed;
        foreach (var task in manifest.Tasks ?? [])
            committed._tasks.Add(task.Task, await store.ReadStateAsync(task.SharedOf(job), cancellationToken));
        foreach (var client in manifest.Clients)
        {
            if (committed.HeadOf(client) is { } head) committed._heads.Add(client.Id, await store.ReadStateAsync(head, cancellationToken));
        }

        return committed;
    }

    /// <summary>The client of the plan.</summary>
    public ClientSpec Client(string id) => _plan.Client(id);

    /// <summary>What the clients of a task share; empty where no tensor has scope Task.</summary>
    private async Task<AdapterState> OfTaskAsync(string task, CancellationToken cancellationToken) =>
        _tasks.TryGetValue(task, out var read) ? read
        : Manifest.Tasks?.FirstOrDefault(one => one.Task == task) is { } state
            ? await ReadLaterAsync(state.SharedOf(_run.Record.Plan), cancellationToken)
            : AdapterState.Empty;

    /// <summary>A client with its committed head.</summary>
    public async Task<GroupMember> MemberAsync(ManifestClient client, CancellationToken cancellationToken)
    {
        var (head, spec) = (HeadOf(client), _plan.Client(client.Id));
        var member = new GroupMember { Client = spec, OfTask = await OfTaskAsync(spec.Task, cancellationToken) };
        if (head is null) return member;
        return member with { Head = _heads.TryGetValue(client.Id, out var read) ? read : await ReadLaterAsync(head, cancellationToken) };
    }

    private async Task<AdapterState> ReadLaterAsync(BlobRef state, CancellationToken cancellationToken)
    {
        try
        {
            return await _store.ReadStateAsync(state, cancellationToken);
        }
        catch (CorruptBlobException)
        {
            var now = await new CommitLog(_store, _run.Record.Plan).ReadAsync(cancellationToken);
            if (now is null || now.Round <= Manifest.Round) throw;
            throw new BadInputException(
                $"{_run.Path}: the run is going on and has left round {Manifest.Round}; try again when it is finished or paused.");
        }
    }

    private BlobRef? HeadOf(ManifestClient client) =>
        client.Head?.At(Keys.Head(_run.Record.Plan, _plan.Client(client.Id).Site, client.Id, client.HeadRound));

    /// <summary>Writes clients' adapters in PEFT's layout to a folder of each one's name; returns how many.</summary>
    /// <param name="folder">Where the folders go.</param>
    /// <param name="clients">The clients; null for all.</param>
    /// <inheritdoc cref="ExportAsync(string, IReadOnlyDictionary{string, string}, ExportForm, bool, CancellationToken)"/>
    /// <param name="form"/>
    /// <param name="relativeBase"/>
    /// <param name="cancellationToken"/>
    public Task<int> ExportAsync(
        string folder, IReadOnlyList<string>? clients, ExportForm? form, bool relativeBase, CancellationToken cancellationToken)
    {
        foreach (var other in (clients ?? []).Where(id => Manifest.Clients.All(client => client.Id != id)))
            throw new BadInputException($"--client: {_run.Path} has no client {other}; "
                + $"its clients are {string.Join(", ", Manifest.Clients.Select(static client => client.Id))}.");
        return ExportAsync(
            folder, (clients ?? Manifest.Clients.Select(static client => client.Id)).Distinct(StringComparer.Ordinal)
                .ToDictionary(static client => client, static client => client, StringComparer.Ordinal),
            form, relativeBase, cancellationToken);
    }

    /// <summary>Writes the one adapter of each of these tasks to a folder of its name; returns how many.</summary>
    /// <exception cref="BadInputException">
    /// There is no such task, or its clients have tensors of their own; nothing was written.
    /// </exception>
    /// <inheritdoc cref="ExportAsync(string, IReadOnlyDictionary{string, string}, ExportForm, bool, CancellationToken)"/>
    public Task<int> ExportTasksAsync(
        string folder, IReadOnlyList<string> tasks, ExportForm? form, bool relativeBase, CancellationToken cancellationToken) =>
        ExportAsync(
            folder, tasks.Distinct(StringComparer.Ordinal).ToDictionary(
                task => TaskClients.WithTheAdapterOf(Plan, _run.Path, task), Identifiers.Of, StringComparer.Ordinal), form,
            relativeBase, cancellationToken);

    /// <summary>The ids of a task's clients.</summary>
    /// <exception cref="BadInputException">There is no such task.</exception>
    public IReadOnlyList<string> ClientsOf(string task) => TaskClients.Of(Plan, _run.Path, task);

    /// <param name="folder">Where the folders go.</param>
    /// <param name="folders">The name of the folder for each client's adapter.</param>
    /// <param name="form">As <see cref="IAdapterExporter.Export"/> takes it.</param>
    /// <param name="relativeBase">
    /// Whether the base model is named by its path from the adapter's folder; by default by its whole path.
    /// </param>
    /// <param name="cancellationToken">The caller's token.</param>
    /// <exception cref="BadInputException">The method has no static form; nothing was written.</exception>
    private async Task<int> ExportAsync(
        string folder, IReadOnlyDictionary<string, string> folders, ExportForm? form, bool relativeBase,
        CancellationToken cancellationToken)
    {
        var ofRun = Path.GetFullPath(_run.Path) + Path.DirectorySeparatorChar;
        var isOwn = Path.GetFullPath(folder).StartsWith(ofRun, StringComparison.Ordinal);
        var model = Path.GetFullPath(Plan.Model.Path, Path.GetFullPath(_run.Record.Root));
        var clients = Manifest.Clients.ToDictionary(static client => client.Id, StringComparer.Ordinal);
        var round = new ExportedRound
        {
            Job = _run.Record.Plan,
            Plan = _plan,
            Round = Manifest.Round,
            Engine = Manifest.Engine,
            Inputs = async token => (await MadeWith.RequireForAsync(_store, _run.Record.Plan, Manifest, token))?.Blob,
            Shared = _ => Task.FromResult(Shared),
            OfTask = OfTaskAsync,
            Clients = [.. folders.Keys.Order(StringComparer.Ordinal)],
            Head = async (client, token) => (await MemberAsync(clients[client], token)).Head,
        };
        // What is written elsewhere is handed on.
        var target = new AdapterFolder(folder, isOwn ? _run.Record.Mode : null, relativeBase ? model : null, client => folders[client]);
        var export = new AdapterExport(new PeftExporter(_run.Record.Root), Guard);
        return (await export.WriteAsync(round, target, form, cancellationToken)).Count;
    }

    /// <summary>What of base and rows is not what the last committed round was made with, in one line each.</summary>
    public async Task<IReadOnlyList<string>> InputChangesAsync(CancellationToken cancellationToken)
    {
        var job = _run.Record.Plan;
        var inputs = await MadeWith.RequireForAsync(_store, job, Manifest, cancellationToken);
        var newest = await StoredPlans.NewestAsync(_store, job, cancellationToken)
            ?? throw new CorruptBlobException($"{Keys.Plan(job)} is missing.");
        var local = await Guard.BaseChangeAsync(job, inputs?.Blob, Manifest.Round, Plan, cancellationToken);
        var sites = Plan.Clients.GroupBy(static client => client.Site, static client => client.Id, StringComparer.Ordinal);
        return (await InputChanges.FindAsync(local, sites, async (site, clients) => await Guard.CheckAsync(job, site, silo: null, new()
        {
            Plan = newest.Blob, Inputs = inputs?.Blob, Clients = clients, Round = Manifest.Round,
            Worked = inputs?.Document.Worked(Manifest) ?? [],
        }, _plan, cancellationToken, rowsAlone: true))).Lines;
    }

    private InputGuard Guard => new(new LocalInputs(_run.Record.Root), _store, _store);
}
