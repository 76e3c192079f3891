using System.Text;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;
using FedRLora.Grains.Runs;

namespace FedRLora.Grains.Inputs;

/// <summary>The run that a fork comes from, as far as its inputs are concerned.</summary>
/// <param name="Plan">Its plan: an extension changes no client.</param>
/// <param name="Blob">The plan in the job's store.</param>
/// <param name="Inputs">What it was made with; null where that was not recorded.</param>
/// <param name="Round">The round that the fork begins from.</param>
/// <param name="Worked">Clients that had worked by then.</param>
public sealed record ForkSource(FederationPlan Plan, BlobRef Blob, BlobRef? Inputs, int Round, IReadOnlyList<string> Worked)
{
    /// <summary>Reads it.</summary>
    public static async Task<ForkSource> ReadAsync(IBlobStore store, string source, RoundManifest manifest,
        CancellationToken cancellationToken)
    {
        var newest = await StoredPlans.NewestAsync(store, source, cancellationToken) ?? throw StoredPlans.Missing(source);
        var inputs = await MadeWith.RequireForAsync(store, source, manifest, cancellationToken);
        return new ForkSource(PlanReader.Require(Encoding.UTF8.GetString(newest.Yaml), newest.Blob.Key), newest.Blob, inputs?.Blob,
            manifest.Round, inputs?.Document.Worked(manifest) ?? []);
    }

    /// <summary>The clients whose rows must be what they were: those that the fork's plan keeps, with the same data.</summary>
    public IEnumerable<ClientSpec> Checked(FederationPlan plan)
    {
        var kept = plan.Clients.ToDictionary(static client => client.Id, static client => client.Data, StringComparer.Ordinal);
        return Plan.Clients.Where(client => kept.TryGetValue(client.Id, out var data) && data == client.Data);
    }

    /// <summary>What a site is asked.</summary>
    public InputsCheck Check(IReadOnlyList<string> clients) =>
        new() { Plan = Blob, Inputs = Inputs, Clients = clients, Round = Round, Worked = Worked };
}
