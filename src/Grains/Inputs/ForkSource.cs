using System.Text;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;

namespace FedRLora.Grains.Inputs;

/// <summary>The run that a fork comes from, as far as its inputs are concerned.</summary>
/// <param name="Plan">Its plan: an extension changes no client.</param>
/// <param name="Blob">The plan in the job's store.</param>
/// <param name="Inputs">What it was made with; null where that was not recorded.</param>
public sealed record ForkSource(FederationPlan Plan, BlobRef Blob, BlobRef? Inputs)
{
    /// <summary>Reads it.</summary>
    public static async Task<ForkSource> ReadAsync(IBlobStore store, string source, CancellationToken cancellationToken)
    {
        var newest = await StoredPlans.NewestAsync(store, source, cancellationToken)
            ?? throw new CorruptBlobException($"{Keys.Plan(source)} is missing.");
        var inputs = await MadeWith.ReadAsync(store, Keys.Inputs(source), cancellationToken);
        return new ForkSource(PlanReader.Require(Encoding.UTF8.GetString(newest.Yaml), newest.Blob.Key), newest.Blob, inputs?.Blob);
    }

    /// <summary>The clients whose rows must be what they were: those that the fork's plan keeps, with the same data.</summary>
    public IEnumerable<ClientSpec> Checked(FederationPlan plan)
    {
        var kept = plan.Clients.ToDictionary(static client => client.Id, static client => client.Data, StringComparer.Ordinal);
        return Plan.Clients.Where(client => kept.TryGetValue(client.Id, out var data) && data == client.Data);
    }

    /// <summary>What a site is asked.</summary>
    public InputsCheck Check(int round, IReadOnlyList<string> clients) =>
        new() { Plan = Blob, Inputs = Inputs, Clients = clients, Round = round };
}
