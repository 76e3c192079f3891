using System.Globalization;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Ports;
using FedRLora.Grains.Store;

namespace FedRLora.Grains.Runs;

/// <summary>The plans of a job: <c>plan.yaml</c>, then one for each extension. None is ever written over.</summary>
public static class StoredPlans
{
    /// <summary>Keys of the plans, oldest first.</summary>
    public static async Task<IReadOnlyList<string>> KeysAsync(IBlobStore store, string job, CancellationToken cancellationToken)
    {
        var extensions = new SortedSet<int>();
        var prefix = Keys.Extensions(job);
        await foreach (var key in store.ListAsync(prefix, cancellationToken))
        {
            var name = Path.GetFileNameWithoutExtension(key[prefix.Length..]);
            if (int.TryParse(name, NumberStyles.None, CultureInfo.InvariantCulture, out var number)) extensions.Add(number);
        }

        // Also one that is missing between others.
        return [Keys.Plan(job), .. Enumerable.Range(1, extensions.Max).Select(number => Keys.Extension(job, number))];
    }

    /// <summary>The plan that the job runs under, and how often it was extended; null where there is no such job.</summary>
    public static async Task<(BlobRef Blob, byte[] Yaml, int Extensions)?> NewestAsync(
        IBlobStore store, string job, CancellationToken cancellationToken)
    {
        var keys = await KeysAsync(store, job, cancellationToken);
        foreach (var key in keys.SkipLast(1))
        {
            await using var opened = await store.OpenAsync(key, cancellationToken);
            if (opened is null) throw new CorruptBlobException($"{key} is missing, but {keys[^1]} is there; {WayOut.Of(key)}.");
        }

        return await store.ReadBytesAsync(keys[^1], cancellationToken) is { } yaml
            ? (new BlobRef(keys[^1], RoundManifest.Digest(yaml), yaml.Length), yaml, keys.Count - 1)
            : null;
    }

    /// <summary>A job with committed rounds has lost its plan.</summary>
    internal static CorruptBlobException Missing(string job) =>
        new($"{Keys.Plan(job)} is missing, but {Keys.Current(job)} shows that rounds were committed; {WayOut.Of(Keys.Plan(job))}.");

    /// <summary>The plan with a digest, which a manifest names.</summary>
    /// <exception cref="CorruptBlobException">No plan of the job has it.</exception>
    public static async Task<byte[]> FindAsync(IBlobStore store, string job, string sha256, CancellationToken cancellationToken)
    {
        var others = new List<string>();
        foreach (var key in await KeysAsync(store, job, cancellationToken))
        {
            if (await store.ReadBytesAsync(key, cancellationToken) is not { } yaml) continue;
            var found = RoundManifest.Digest(yaml);
            if (found == sha256) return yaml;
            others.Add($"{key} has digest {found}");
        }

        var there = string.Join(", ", others.DefaultIfEmpty($"{Keys.Plan(job)} is missing"));
        throw new CorruptBlobException($"{there}, but a round was committed with {sha256}; " +
            "put that plan back, as fedrlora repair does where the run folder has it.");
    }
}
