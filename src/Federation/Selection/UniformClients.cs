using FedRLora.Federation.Numerics;

namespace FedRLora.Federation.Selection;

/// <summary>
/// A uniform draw without replacement; a round needs the nearest whole number to <paramref name="fraction"/> of the clients, at least
/// one.
/// </summary>
internal sealed class UniformClients(double fraction) : IClientSelector
{
    public int Wanted(int available) =>
        Math.Min(available, Math.Max(1, (int)Math.Round(fraction * available, MidpointRounding.AwayFromZero)));

    public IReadOnlyList<string> Draw(IReadOnlyList<ClientInfo> available, SplitMix64 random)
    {
        var ids = available.Select(static client => client.Id).Order(StringComparer.Ordinal).ToArray();
        for (var next = 0; next < ids.Length; next++)
        {
            var other = next + random.Next(ids.Length - next);
            (ids[next], ids[other]) = (ids[other], ids[next]);
        }
        return ids;
    }
}
