using FedRLora.Abstractions.Ports;
using FedRLora.Grains;
using FedRLora.Silo.Storage;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Orleans.Runtime.Hosting;

namespace FedRLora.Silo;

internal static class StorageBuilderExtensions
{
    /// <summary>Blob stores as folders, and grain state in the job's store.</summary>
    public static void AddStorage(this IHostApplicationBuilder builder, SiloOptions options)
    {
        builder.Services.AddSingleton<IBlobStores>(_ =>
        {
            var job = new DirectoryBlobStore(options.Store);
            return new DirectoryBlobStores(job, options.SiteStore is { } site ? new DirectoryBlobStore(site) : job);
        });
        builder.Services.AddGrainStorage(FederationSiloBuilderExtensions.StorageName, static (services, _) => new BlobGrainStorage(services.GetRequiredService<IBlobStores>().Job));
    }

    private sealed class DirectoryBlobStores(DirectoryBlobStore job, DirectoryBlobStore site) : IBlobStores, IDisposable
    {
        public IBlobStore Job => job;

        public IBlobStore Site => site;

        public void Dispose()
        {
            job.Dispose();
            site.Dispose();
        }
    }
}
