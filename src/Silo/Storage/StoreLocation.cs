using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;

namespace FedRLora.Silo.Storage;

/// <summary>
/// Where a store is: a folder, or a container of Azure Blob Storage with an optional prefix. Read once, from an option and the
/// environment; opening it reaches nothing yet.
/// </summary>
public sealed class StoreLocation
{
    private const string Forms = "a store is a folder or https://ACCOUNT.blob.core.windows.net/CONTAINER[/PREFIX]";
    private readonly Func<StoreMode, Durability, AzureStoreOptions?, IBlobStore> _open;

    private StoreLocation(string name, bool isFolder, Func<StoreMode, Durability, AzureStoreOptions?, IBlobStore> open) =>
        (Name, IsFolder, _open) = (name, isFolder, open);

    /// <summary>The location as it may be shown: the full path of the folder, or the URL without its signature.</summary>
    public string Name { get; }

    /// <summary>Whether it is a folder of this machine.</summary>
    public bool IsFolder { get; }

    /// <summary>Reads a location.</summary>
    /// <param name="role">Whose option and variables count.</param>
    /// <param name="location">
    /// A folder, <c>https://ACCOUNT.blob.core.windows.net/CONTAINER[/PREFIX]</c>, or, for Azurite,
    /// <c>http://127.0.0.1:PORT/ACCOUNT/CONTAINER[/PREFIX]</c>; a URL may carry a shared access signature as its query.
    /// </param>
    /// <param name="environment">Finds a variable; by default this process's.</param>
    /// <exception cref="BadInputException">No store can be there, or its credentials are malformed or another account's.</exception>
    public static StoreLocation Parse(StoreRole role, string location, Func<string, string?>? environment = null)
    {
        if (string.IsNullOrWhiteSpace(location)) throw new BadInputException($"{role.Option}: the location is empty; {Forms}.");
        if (!location.Contains("://", StringComparison.Ordinal)) return Folder(Path.GetFullPath(location));
        var url = ContainerUrl.Parse(role, location, Forms);
        var credentials = StoreCredentials.Find(role, url, environment ?? Environment.GetEnvironmentVariable);
        return new StoreLocation(url.Name, isFolder: false, (_, _, options) =>
            new AzureBlobStore(url.Name, url.Prefix, credentials.Description, credentials.Open, options));
    }

    /// <summary>Opens the store. A folder is made where it is missing; a container is reached with the first request.</summary>
    /// <param name="mode">Who may read and write a folder; a container has its own rules.</param>
    /// <param name="durability">What a power cut may take of a folder; a container loses nothing.</param>
    /// <param name="options">Times and sizes of a container's store.</param>
    /// <exception cref="StoreUnavailableException">The folder cannot be used.</exception>
    public IBlobStore Open(
        StoreMode mode = StoreMode.Private, Durability durability = Durability.Full, AzureStoreOptions? options = null) =>
        _open(mode, durability, options);

    /// <inheritdoc/>
    public override string ToString() => Name;

    private static StoreLocation Folder(string path) =>
        new(path, isFolder: true, (mode, durability, _) => new DirectoryBlobStore(path, mode, durability));
}
