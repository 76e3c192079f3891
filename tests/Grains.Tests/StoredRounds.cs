using FedRLora.Abstractions;

namespace FedRLora.Grains.Tests;

/// <summary>Keys of the rounds in a folder store whose digests a test does not know; of each there is one.</summary>
internal static class StoredRounds
{
    public static string Manifest(string store, string job, int round) => Only(store, job, round, "manifest-*.json");

    public static string Shared(string store, string job, int round) => Only(store, job, round, "shared-*.safetensors");

    public static bool HasShared(string store, string job, int round) => Find(store, job, round, "shared-*.safetensors").Length > 0;

    private static string Only(string store, string job, int round, string name) =>
        Path.GetRelativePath(store, Assert.Single(Find(store, job, round, name)));

    private static string[] Find(string store, string job, int round, string name) =>
        Path.Combine(store, Keys.Round(job, round)) is var folder && Directory.Exists(folder) ? Directory.GetFiles(folder, name) : [];
}
