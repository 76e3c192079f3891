using System.Text;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Client.Rendering;
using FedRLora.Grains.Inputs;
using FedRLora.Grains.Runs;
using FedRLora.Grains.Store;
using FedRLora.Silo.Storage;
using FedRLora.Training;
using FedRLora.Training.Inputs;

namespace FedRLora.Client.Local;

/// <summary>Whether base and rows are what the jobs of a run folder were made with; looked at before a silo takes them up.</summary>
internal static class LocalInputsCheck
{
    /// <summary>Refuses what changed by name, or writes down that it is allowed.</summary>
    /// <param name="run">The folder.</param>
    /// <param name="rounds">Rounds that the run is to have; null for those of its plan. A job that has them has nothing left to do.</param>
    /// <param name="allowed">Whether changes are allowed.</param>
    /// <param name="screen">Hears what is not recorded.</param>
    /// <param name="cancellationToken">The caller's token.</param>
    /// <exception cref="BadInputException">Something changed, and that was not allowed.</exception>
    public static async Task RequireAsync(RunDirectory run, int? rounds, bool allowed, Screen screen, CancellationToken cancellationToken)
    {
        run.RequireRoot();
        using var store = run.OpenStore();
        var inputs = new LocalInputs(run.Record.Root);
        var guard = new InputGuard(inputs, store, store);
        var found = new List<(JobInputs Job, InputChanges Changes)>();
        foreach (var id in run.Jobs)
        {
            if (await JobInputs.ReadAsync(store, id, rounds, cancellationToken) is not { } job) continue;
            if (job is { Made: null, Last: { Base: null } })
            {
                await screen.Error.WriteLineAsync(
                    $"{id}: base and rows of its rounds so far were not recorded and cannot be compared; they are from here on.");
            }

            var local = await guard.BaseChangeAsync(id, job.Blob, round: null, job.Plan.Plan, cancellationToken);
            var changes = await InputChanges.FindAsync(local, job.Sites(), (site, clients) =>
                AskAsync(guard, job, site, clients, acceptAfter: null, cancellationToken));
            changes.Require(allowed);
            if (changes.Base is not null && job.Last is { } last)
                await RequireFitsAsync(job.Plan.Plan, run.Record.Root, store, id, last, cancellationToken);
            if (changes.ChangesRun) found.Add((job, changes));
        }

        foreach (var (job, changes) in found)
        {
            var now = await inputs.BaseAsync(job.Plan.Plan, cancellationToken);
            await (job.Made ?? new MadeWith([])).Changed(job.Committed, now, changes.Rows.Keys)
                .WriteAsync(store, Keys.Inputs(job.Id), cancellationToken);
            await store.MakeDurableAsync(cancellationToken); // before rows.json, which alone would keep the change from the manifests
            foreach (var site in job.Sites())
                await AskAsync(guard, job, site.Key, [.. site.Where(changes.Rows.ContainsKey)], job.Committed, cancellationToken);
            foreach (var line in changes.Lines) await screen.Error.WriteLineAsync($"{job.Id}: goes on with what changed: {line}");
        }
    }

    /// <summary>Whether a base that was exchanged takes what a round of a run trained.</summary>
    /// <exception cref="BadInputException">It does not, or is not usable.</exception>
    public static async Task RequireFitsAsync(FederationPlan plan, string root, DirectoryBlobStore store, string run,
        RoundManifest manifest, CancellationToken cancellationToken)
    {
        using var trainer = new LocalTrainer(new LocalTrainerOptions { Root = root });
        await Fork.RequireFitsAsync(trainer, plan, store, run, manifest, cancellationToken);
    }

    private static async Task<InputsFound?> AskAsync(
        InputGuard guard, JobInputs job, string site, IReadOnlyList<string> clients, int? acceptAfter, CancellationToken cancellationToken)
    {
        var check = new InputsCheck
        {
            Plan = job.PlanBlob, Inputs = job.Blob, Clients = clients, AcceptAfter = acceptAfter, Worked = job.Made?.Worked(job.Last) ?? [],
        };
        return await guard.CheckAsync(job.Id, site, silo: null, check, job.Plan, cancellationToken);
    }

    /// <summary>A job that goes on.</summary>
    private sealed record JobInputs(string Id, IndexedPlan Plan, BlobRef PlanBlob, RoundManifest? Last, MadeWith? Made, BlobRef? Blob)
    {
        /// <summary>The last committed round; -1 before the first.</summary>
        public int Committed => Last?.Round ?? -1;

        /// <summary>Null where there is no such job, or nothing left for it to do.</summary>
        public static async Task<JobInputs?> ReadAsync(DirectoryBlobStore store, string id, int? rounds,
            CancellationToken cancellationToken)
        {
            if (await StoredPlans.NewestAsync(store, id, cancellationToken) is not var (blob, yaml, _)) return null;
            var plan = PlanReader.Require(Encoding.UTF8.GetString(yaml), blob.Key);
            var log = new CommitLog(store, id);
            var current = await log.ReadAsync(cancellationToken);
            if (current?.Round >= (rounds ?? plan.Strategy.Rounds)) return null;
            var last = current is null ? null : await log.ManifestAsync(current.Round, current.ManifestSha256, cancellationToken);
            var made = await MadeWith.RequireAsync(store, id, last, cancellationToken);
            return new JobInputs(id, new IndexedPlan(plan), blob, last, made?.Document, made?.Blob);
        }

        public IEnumerable<IGrouping<string, string>> Sites() =>
            Plan.Plan.Clients.GroupBy(static client => client.Site, static client => client.Id, StringComparer.Ordinal);
    }
}
