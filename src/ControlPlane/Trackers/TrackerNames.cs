namespace FedRLora.ControlPlane.Trackers;

/// <summary>What trackers call the two runs of a plan.</summary>
internal static class TrackerNames
{
    /// <summary>The run.</summary>
    public const string Federated = "federated";

    /// <summary>Its reference, which shares nothing.</summary>
    public const string LocalOnly = "local-only";
}
