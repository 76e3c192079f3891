using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Silo.Storage;

namespace FedRLora.Client.Local;

/// <summary>Jobs in stores on this machine, to look after without a silo.</summary>
/// <param name="Job">The store of the jobs.</param>
/// <param name="Site">The store of their sites; the same one where they share a folder.</param>
/// <param name="Ids">The jobs.</param>
internal sealed record StoredJobs(DirectoryBlobStore Job, DirectoryBlobStore Site, IReadOnlyList<string> Ids) : IDisposable
{
    /// <summary>The jobs of a run folder.</summary>
    /// <exception cref="BadInputException">It has no store.</exception>
    public static StoredJobs Of(RunDirectory run)
    {
        var store = Directory.Exists(run.Store) ? run.OpenStore() : throw NotThere(run.Store);
        return new(store, store, run.Jobs);
    }

    /// <summary>A job of a cluster's stores.</summary>
    /// <exception cref="BadInputException">A folder is not there.</exception>
    public static StoredJobs Of(string store, string? siteStore, string id)
    {
        Identifiers.Check("run", id);
        var job = Open(store);
        return new(job, siteStore is null ? job : Open(siteStore), [id]);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Job.Dispose();
        Site.Dispose();
    }

    // A store that is opened makes its folder. What is written into one that silos of a group share is theirs too.
    private static DirectoryBlobStore Open(string folder) =>
        Directory.Exists(folder) ? new(folder, StorePermissions.ModeOf(folder) ?? StoreMode.Private) : throw NotThere(folder);

    private static BadInputException NotThere(string folder) =>
        new($"{folder}: there is no such folder; nothing of a run is stored there.");
}
