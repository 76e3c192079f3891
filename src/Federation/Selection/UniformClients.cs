using FedRLora.Federation.Numerics;

namespace FedRLora.Federation.Selection;

/// <summary>A uniform draw without replacement of the nearest whole number to <paramref name="fraction"/> of the clients, at least one.</summary>
internal sealed class UniformClients(double fraction) : IClientSelector
{
    public IReadOnlyList<string> Select(IReadOnlyList<ClientInfo> available, SplitMix64 random)
    {
        var ids = available.Select(static client => client.Id).Order(StringComparer.Ordinal).ToArray();
        var count = Math.Min(ids.Length, Math.Max(1, (int)Math.Round(fraction * ids.Length, MidpointRounding.AwayFromZero)));
        for (var drawn = 0; drawn < count; drawn++)
        {
            var other = drawn + random.Next(ids.Length - drawn);
            (ids[drawn], ids[other]) = (ids[other], ids[drawn]);
        }
        return ids.Take(count).Order(StringComparer.Ordinal).ToArray();
    }
}
