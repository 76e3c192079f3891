using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Grains.Inputs;
using FedRLora.Grains.Runs;
using FedRLora.Grains.Store;
using FedRLora.Silo.Storage;
using FedRLora.Training.Inputs;

namespace FedRLora.Client.Local;

/// <summary>A new run folder that holds the start of a fork.</summary>
internal static class LocalFork
{
    /// <exception cref="BadInputException">
    /// The round, or a head of it, is not there, the plan does not fit it, or base or rows have changed.
    /// </exception>
    public static async Task<RunDirectory> CreateAsync(
        RunDirectory source, int round, PlanFile file, string root, string? folder, bool allowDataChange,
        CancellationToken cancellationToken)
    {
        var plan = file.Require();
        source.RequireStore();
        using var from = source.OpenStore();
        var manifest = await Fork.CheckAsync(from, source.Record.Plan, round, plan, cancellationToken);
        var (made, changes) = await CheckAsync(source, from, manifest, plan, root, allowDataChange, cancellationToken);
        if (changes.Base is not null)
            await LocalInputsCheck.RequireFitsAsync(plan, root, from, source.Record.Plan, manifest, cancellationToken);
        var fork = RunDirectory.Create(folder, file, plan, localOnly: false, root, RoundManifest.Digest(manifest.ToBytes()),
            FormattableString.Invariant($"{source.Path}, round {round}"));
        try
        {
            using var to = fork.OpenStore();
            var owners = manifest.Clients.ToDictionary(static client => client.Id, StringComparer.Ordinal);
            foreach (var client in plan.Clients)
            {
                if (owners.TryGetValue(client.Id, out var owner))
                    await Fork.CopyOwnedAsync(from, source.Record.Plan, [owner], to, plan.Name, client.Site, cancellationToken);
            }

            await made.WriteAsync(to, Keys.Inputs(plan.Name), cancellationToken);
            await Fork.CopySharedAsync(from, source.Record.Plan, manifest, to, plan.Name, cancellationToken);
            return fork;
        }
        catch
        {
            fork.Discard();
            throw;
        }
    }

    // Compared where the new run will read.
    private static async Task<(MadeWith Made, InputChanges Changes)> CheckAsync(
        RunDirectory source, DirectoryBlobStore from, RoundManifest manifest, FederationPlan plan, string root, bool allowDataChange,
        CancellationToken cancellationToken)
    {
        var (id, inputs) = (source.Record.Plan, new LocalInputs(root));
        var guard = new InputGuard(inputs, from, from);
        var before = await ForkSource.ReadAsync(from, id, manifest, cancellationToken);
        var indexed = new IndexedPlan(before.Plan);
        var local = await guard.BaseChangeAsync(id, before.Inputs, manifest.Round, plan, cancellationToken);
        var sites = before.Checked(plan).GroupBy(static client => client.Site, static client => client.Id, StringComparer.Ordinal);
        var changes = await InputChanges.FindAsync(local, sites, async (site, clients) =>
            await guard.CheckAsync(id, site, silo: null, before.Check(clients), indexed, cancellationToken, rowsAlone: true));
        changes.Require(allowDataChange);
        return (MadeWith.Start(await inputs.BaseAsync(plan, cancellationToken), changes.Rows.Keys), changes);
    }
}
