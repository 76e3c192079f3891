using FedRLora.Federation.Numerics;

namespace FedRLora.Federation.Selection;

/// <summary>Every available client.</summary>
internal sealed class AllClients : IClientSelector
{
    public int Wanted(int available) => available;

    public IReadOnlyList<string> Draw(IReadOnlyList<ClientInfo> available, SplitMix64 random) =>
        available.Select(static client => client.Id).Order(StringComparer.Ordinal).ToArray();
}
