using FedRLora.Abstractions.Plans;

namespace FedRLora.Training.Adapters;

/// <summary>The tensors that formats of others know, by the names of their roles.</summary>
internal static class Roles
{
    /// <summary>The down-projection.</summary>
    public const string A = LowRankFactors.A;

    /// <summary>The heads.</summary>
    public const string B = LowRankFactors.B;

    /// <summary>The router.</summary>
    public const string Router = Routing.Softmax.Router;

    /// <summary>The norms of a decomposed weight.</summary>
    public const string Magnitude = Decomposition.Magnitude;
}
