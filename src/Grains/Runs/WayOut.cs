using FedRLora.Abstractions;

namespace FedRLora.Grains.Runs;

/// <summary>What helps where a document of a run is missing or was changed: the end of every such error.</summary>
internal static class WayOut
{
    /// <summary>What to do about a blob.</summary>
    public static string Of(string key) => key switch
    {
        _ when key.EndsWith("/timing.json", StringComparison.Ordinal) => "delete it: how long the round took is then not known",
        _ when key.StartsWith(Keys.Sites, StringComparison.Ordinal) && key.Contains("/export/", StringComparison.Ordinal) =>
            "export the adapter again",
        _ when key.StartsWith("grains/", StringComparison.Ordinal) => "fedrlora repair removes it, and the open round begins again",
        _ when key.EndsWith("/fingerprint.json", StringComparison.Ordinal) => "fedrlora repair makes it again from the last manifest",
        _ when key.EndsWith("/inputs.json", StringComparison.Ordinal) => "fedrlora repair makes it again as far as the manifests tell",
        _ when key.EndsWith("/rows.json", StringComparison.Ordinal) =>
            "go on with --allow-data-change, which counts the client's rows as others",
        _ when key.EndsWith(".yaml", StringComparison.Ordinal) =>
            "put it back; fedrlora repair does where the run folder's plan.yaml is the same",
        _ => "put it back, or go back to the newest round that holds with fedrlora repair",
    };
}
