using FedRLora.Abstractions.Messages;
using FedRLora.Grains;
using FedRLora.Silo.Storage;

namespace FedRLora.Client.Local;

/// <summary>A new run folder that holds the start of a fork.</summary>
internal static class LocalFork
{
    /// <exception cref="Abstractions.BadInputException">The round, or a head of it, is not there, or the plan does not fit it.</exception>
    public static async Task<RunDirectory> CreateAsync(RunDirectory source, int round, PlanFile file, string root, string? folder, CancellationToken cancellationToken)
    {
        var plan = file.Require();
        source.RequireStore();
        using var from = source.OpenStore();
        var manifest = await Fork.CheckAsync(from, source.Record.Plan, round, plan, cancellationToken);
        var fork = RunDirectory.Create(folder, file, plan, localOnly: false, root, RoundManifest.Digest(manifest.ToBytes()));
        try
        {
            using var to = fork.OpenStore();
            var owners = manifest.Clients.ToDictionary(static client => client.Id, StringComparer.Ordinal);
            foreach (var client in plan.Clients)
            {
                if (owners.TryGetValue(client.Id, out var owner)) await Fork.CopyOwnedAsync(from, source.Record.Plan, [owner], to, plan.Name, client.Site, cancellationToken);
            }

            await Fork.CopySharedAsync(from, source.Record.Plan, manifest, to, plan.Name, cancellationToken);
            return fork;
        }
        catch
        {
            fork.Discard();
            throw;
        }
    }
}
