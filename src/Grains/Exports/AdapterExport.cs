using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;
using FedRLora.Abstractions.Tensors;
using FedRLora.Grains.Inputs;
using FedRLora.Grains.Store;

namespace FedRLora.Grains.Exports;

/// <summary>
/// Writes adapters of a committed round as they load elsewhere. It is the one path of every export, by a site into its store and from a
/// run's folder: what must hold before, the form, and what each client's adapter is.
/// </summary>
/// <param name="exporter">Makes adapters.</param>
/// <param name="guard">Knows the base that is here.</param>
public sealed class AdapterExport(IAdapterExporter exporter, InputGuard guard)
{
    /// <summary>Writes the adapters of a round's clients.</summary>
    /// <param name="round">The round.</param>
    /// <param name="target">Where they go.</param>
    /// <param name="form">The form; null for the exact one in PEFT's layout.</param>
    /// <param name="cancellationToken">The caller's token.</param>
    /// <returns>Where each client's adapter is.</returns>
    /// <exception cref="BadInputException">
    /// The method has no such form, or something that an export reads besides the run's own states is not what the run was made with.
    /// Nothing was written then.
    /// </exception>
    public async Task<IReadOnlyDictionary<string, string>> WriteAsync(
        ExportedRound round, IExportTarget target, ExportForm? form, CancellationToken cancellationToken)
    {
        var plan = round.Plan;
        Require(plan.Plan, round.Engine);
        await guard.RequireExportBaseAsync(round.Job, await round.Inputs(cancellationToken), round.Round, plan.Plan, cancellationToken);
        var shared = await round.Shared(cancellationToken);
        var written = new SortedDictionary<string, string>(StringComparer.Ordinal);
        foreach (var client in round.Clients)
        {
            var head = await round.Head(client, cancellationToken);
            var own = target.FormOf(client, form);
            var spec = plan.Client(client);
            AdapterState aggregated = new([.. shared, .. await round.OfTask(spec.Task, cancellationToken)]);
            var adapter = await Task.Run(() => exporter.Export(plan.Plan, round.Round, spec, aggregated, head, own), cancellationToken);
            written[client] = await target.WriteAsync(client, adapter, cancellationToken);
        }

        return written;
    }

    // The committed round's engine names the plan's values and the adapter that it starts from.
    private void Require(FederationPlan plan, string? engine)
    {
        PlanText.RequireValues(plan, plan.Name, engine);
        if (exporter.DigestOfGiven(plan) is { } digest && engine?.Contains(digest, StringComparison.Ordinal) != true)
            throw new BadInputException($"{plan.Adapter.From}: not the adapter that the run started from; put that one back, " +
                "its scaling belongs to the trained tensors");
    }
}

/// <summary>A committed round whose adapters are exported, or a part of its clients.</summary>
public sealed record ExportedRound
{
    /// <summary>The job.</summary>
    public required string Job { get; init; }

    /// <summary>The plan that it was committed under.</summary>
    public required IndexedPlan Plan { get; init; }

    /// <summary>The round.</summary>
    public required int Round { get; init; }

    /// <summary>Its engine, as its manifest names it.</summary>
    public required string? Engine { get; init; }

    /// <summary>Finds what it was made with, in the job's store; null where that was not recorded.</summary>
    public required Func<CancellationToken, Task<BlobRef?>> Inputs { get; init; }

    /// <summary>Reads its shared state.</summary>
    public required Func<CancellationToken, Task<AdapterState>> Shared { get; init; }

    /// <summary>Reads the state of a task; empty where no tensor has scope Task.</summary>
    public required Func<string, CancellationToken, Task<AdapterState>> OfTask { get; init; }

    /// <summary>The clients.</summary>
    public required IReadOnlyList<string> Clients { get; init; }

    /// <summary>Reads the head that a client owns; null before its first round.</summary>
    public required Func<string, CancellationToken, Task<AdapterState?>> Head { get; init; }

    /// <summary>What a site exports.</summary>
    /// <param name="committed">The committed round, with the clients as members.</param>
    /// <param name="plan">Its plan.</param>
    /// <param name="cache">Reads what clients share.</param>
    /// <param name="site">The site's store.</param>
    internal static ExportedRound Of(SiteAssignment committed, IndexedPlan plan, SiloCache cache, IBlobStore site)
    {
        var heads = committed.Members.ToDictionary(static member => member.ClientId, static member => member.Head, StringComparer.Ordinal);
        return new()
        {
            Job = committed.JobId,
            Plan = plan,
            Round = committed.Round,
            Engine = committed.Engine,
            Inputs = _ => Task.FromResult(committed.Inputs),
            Shared = token => cache.SharedAsync(committed.Shared, token),
            OfTask = (task, token) => committed.Tasks.TryGetValue(task, out var state)
                ? cache.OfTaskAsync(state, token)
                : Task.FromResult(AdapterState.Empty),
            Clients = [.. committed.Members.Select(static member => member.ClientId)],
            Head = async (client, token) => heads[client] is { } head ? await site.ReadStateAsync(head, token) : null,
        };
    }
}

/// <summary>Where exported adapters go: each in a place of its own, as the files of <see cref="ExportedFiles"/>.</summary>
public interface IExportTarget
{
    /// <summary>The form of a client's adapter in its place there.</summary>
    ExportForm? FormOf(string client, ExportForm? form) => form;

    /// <summary>Writes a client's adapter; returns its place.</summary>
    Task<string> WriteAsync(string client, ExportedAdapter adapter, CancellationToken cancellationToken);
}
