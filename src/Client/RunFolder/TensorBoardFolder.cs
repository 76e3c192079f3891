using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Client.Control;
using FedRLora.ControlPlane.Trackers;
using FedRLora.ControlPlane.Views;

namespace FedRLora.Client.RunFolder;

/// <summary>A run for TensorBoard in a folder that was named with <c>--out</c>: itself, and its local-only reference beside it.</summary>
internal sealed class TensorBoardFolder(string folder)
{
    /// <summary>Writes the rounds of a run folder.</summary>
    /// <exception cref="BadInputException">The folder cannot be written.</exception>
    public void Write(FederationPlan plan, IReadOnlyList<RoundSummary> rounds, IReadOnlyList<RoundSummary>? localOnly) => Try(() =>
    {
        Put(plan, TrackerNames.Federated, rounds);
        if (localOnly is not null) Put(plan, TrackerNames.LocalOnly, localOnly);
    });

    /// <summary>Writes the rounds of a run on silos.</summary>
    /// <exception cref="BadInputException">There is no such run, nothing of it is committed, or the folder cannot be written.</exception>
    public async Task WriteAsync(ControlClient silos, string run, CancellationToken cancellationToken)
    {
        var plan = (await silos.PlanAsync(run, cancellationToken)).Require();
        var rounds = await silos.RoundsAsync(run, after: -1, cancellationToken).ToListAsync(cancellationToken);
        if (rounds.Count == 0) throw new BadInputException($"{run}: nothing is committed yet.");
        var localOnly = LocalOnlyRun.IsAskedBy(plan) ? await ReferenceAsync(silos, LocalOnlyRun.Of(run), cancellationToken) : null;
        Write(plan, rounds, localOnly);
    }

    private static async Task<IReadOnlyList<RoundSummary>?> ReferenceAsync(
        ControlClient silos, string reference, CancellationToken cancellationToken)
    {
        try
        {
            return await silos.RoundsAsync(reference, after: -1, cancellationToken).ToListAsync(cancellationToken) is { Count: > 0 } rounds
                ? rounds : null;
        }
        catch (NotThereException)
        {
            return null; // it begins when the run is finished
        }
    }

    private void Put(FederationPlan plan, string name, IReadOnlyList<RoundSummary> rounds)
    {
        var file = new TensorBoardFile(Path.Combine(folder, name), mode: null);
        foreach (var round in rounds) file.Add(RoundView.Of(round, plan));
        file.End();
    }

    private void Try(Action write)
    {
        try
        {
            write();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException)
        {
            throw new BadInputException($"--out: {folder} cannot be written: {e.Message}", e);
        }
    }
}
