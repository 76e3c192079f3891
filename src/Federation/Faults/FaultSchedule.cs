using System.Globalization;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Federation.Numerics;
using FedRLora.Federation.Selection;

namespace FedRLora.Federation.Faults;

/// <summary>
/// Which fault of a plan happens to which client in which round: a function of the plan alone, so that every silo knows it and a
/// round tried again has the same faults.
/// </summary>
public sealed class FaultSchedule
{
    private readonly FederationPlan _plan;
    private readonly Dictionary<string, List<int>> _byClient = new(StringComparer.Ordinal);
    private readonly bool _hasAbsences;

    /// <summary>Draws the clients of every share.</summary>
    /// <param name="plan">A valid plan.</param>
    public FaultSchedule(FederationPlan plan)
    {
        _plan = plan;
        _hasAbsences = plan.Faults.Any(static fault => fault.Kind == FaultKind.Absent);
        for (var index = 0; index < plan.Faults.Count; index++)
        {
            foreach (var client in Members(plan, index))
            {
                if (!_byClient.TryGetValue(client, out var faults))
                    _byClient.Add(client, faults = []);
                faults.Add(index);
            }
        }
    }

    /// <summary>The faults of a client in a round, in the plan's order.</summary>
    public IEnumerable<FaultSpec> Of(string client, int round)
    {
        if (!_byClient.TryGetValue(client, out var faults))
            yield break;
        foreach (var index in faults)
        {
            var fault = _plan.Faults[index];
            if (fault.Rounds.Hold(round) && (fault.Probability >= 1 || Draw(client, round, index) < fault.Probability))
                yield return fault;
        }
    }

    /// <summary>Whether a client cannot be selected in a round.</summary>
    public bool IsAbsent(string client, int round) => _hasAbsences && Of(client, round).Any(static fault => fault.Kind == FaultKind.Absent);

    private static IEnumerable<string> Members(FederationPlan plan, int index) => plan.Faults[index] switch
    {
        { Share: { } share } => Drawn(new UniformClients(share), plan, index),
        var named => named.Clients,
    };

    private static IReadOnlyList<string> Drawn(UniformClients share, FederationPlan plan, int index) =>
        [
            .. share.Draw([.. plan.Clients.Select(ClientInfo.Of)], new SplitMix64(Seed.For(plan.Seed, 0, "", Purpose(index))))
                .Take(share.Wanted(plan.Clients.Count)),
        ];

    private double Draw(string client, int round, int index) =>
        new SplitMix64(Seed.For(_plan.Seed, round, client, Purpose(index))).NextUnit();

    private static string Purpose(int index) => string.Create(CultureInfo.InvariantCulture, $"faults/{index}");
}
