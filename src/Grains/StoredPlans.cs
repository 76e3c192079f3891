using System.Globalization;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Ports;

namespace FedRLora.Grains;

/// <summary>The plans of a job: <c>plan.yaml</c>, then one for each extension. None is ever written over.</summary>
public static class StoredPlans
{
    /// <summary>The plan that the job runs under, and how often it was extended; null where there is no such job.</summary>
    public static async Task<(BlobRef Blob, byte[] Yaml, int Extensions)?> NewestAsync(IBlobStore store, string job, CancellationToken cancellationToken)
    {
        var extensions = 0;
        var prefix = Keys.Extensions(job);
        await foreach (var key in store.ListAsync(prefix, cancellationToken))
        {
            if (int.TryParse(Path.GetFileNameWithoutExtension(key[prefix.Length..]), NumberStyles.None, CultureInfo.InvariantCulture, out var number)) extensions = Math.Max(extensions, number);
        }

        var newest = extensions == 0 ? Keys.Plan(job) : Keys.Extension(job, extensions);
        return await store.ReadBytesAsync(newest, cancellationToken) is { } yaml ? (new BlobRef(newest, RoundManifest.Digest(yaml), yaml.Length), yaml, extensions) : null;
    }

    /// <summary>The plan with a digest, which a manifest names.</summary>
    /// <exception cref="CorruptBlobException">No plan of the job has it.</exception>
    public static async Task<byte[]> FindAsync(IBlobStore store, string job, string sha256, CancellationToken cancellationToken)
    {
        List<string> keys = [Keys.Plan(job)];
        await foreach (var key in store.ListAsync(Keys.Extensions(job), cancellationToken)) keys.Add(key);
        foreach (var key in keys)
        {
            if (await store.ReadBytesAsync(key, cancellationToken) is { } yaml && RoundManifest.Digest(yaml) == sha256) return yaml;
        }

        throw new CorruptBlobException($"No plan under {Keys.Job(job)} has digest {sha256}, which a manifest names.");
    }
}
