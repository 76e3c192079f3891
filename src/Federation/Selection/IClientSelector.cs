using FedRLora.Abstractions.Plans;
using FedRLora.Federation.Numerics;

namespace FedRLora.Federation.Selection;

/// <summary>A client that can be drawn.</summary>
/// <param name="Id">Its id.</param>
/// <param name="Site">Its site.</param>
/// <param name="Task">Its task.</param>
/// <param name="HasTestRows">Whether it can be scored.</param>
public sealed record ClientInfo(string Id, string Site, string Task, bool HasTestRows)
{
    /// <summary>The client of a plan.</summary>
    public static ClientInfo Of(ClientSpec client) => new(client.Id, client.Site, client.Task, client.Data.Test is not null);
}

/// <summary>Draws the cohort of a round.</summary>
public interface IClientSelector
{
    /// <summary>How many clients a round needs of so many available ones.</summary>
    int Wanted(int available);

    /// <summary>
    /// The available clients in the order in which they are drawn: a function of who is available, whatever their order, and of the
    /// generator. A round takes as many as it needs from its front.
    /// </summary>
    /// <param name="available">Who can be drawn.</param>
    /// <param name="random">The draw's generator.</param>
    IReadOnlyList<string> Draw(IReadOnlyList<ClientInfo> available, SplitMix64 random);
}
