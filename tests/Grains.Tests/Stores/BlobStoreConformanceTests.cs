using FedRLora.Abstractions.Ports;
using FedRLora.Silo.Storage;

namespace FedRLora.Grains.Tests.Stores;

public sealed class DirectoryBlobStoreConformanceTests : BlobStoreConformance, IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("fedrlora-blobs-").FullName;
    private readonly DirectoryBlobStore _store;

    public DirectoryBlobStoreConformanceTests() => _store = new DirectoryBlobStore(_folder);

    protected override IBlobStore Store => _store;

    public void Dispose()
    {
        _store.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    protected override IBlobStore OpenAgain() => new DirectoryBlobStore(_folder);
}

/// <summary>A container of its own for each test, under a prefix.</summary>
[NeedsAzurite]
[Collection(AzuriteCollection.Name)]
public sealed class AzureBlobStoreConformanceTests : BlobStoreConformance
{
    private readonly StoreLocation _location;

    public AzureBlobStoreConformanceTests(AzuriteServer azurite)
    {
        _location = azurite.Location($"{azurite.Endpoint}/c{Guid.NewGuid():n}/runs/north");
        Store = _location.Open();
    }

    protected override IBlobStore Store { get; }

    protected override IBlobStore OpenAgain() => _location.Open();
}
