using FedRLora.Abstractions.Ports;
using FedRLora.Grains;
using FedRLora.Silo.Storage;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Orleans.Runtime.Hosting;

namespace FedRLora.Silo;

internal static class StorageBuilderExtensions
{
    /// <summary>
    /// The silo's blob stores, and grain state in the job's store. A location that cannot be one, or a folder that cannot be used,
    /// is refused here, before anything starts; a container that does not answer is waited for when it is needed.
    /// </summary>
    public static void AddStorage(this IHostApplicationBuilder builder, SiloOptions options)
    {
        var job = StoreLocation.Parse(StoreRole.Job, options.Store);
        var site = options.SiteStore is { } location ? StoreLocation.Parse(StoreRole.Site, location) : null;
        var stores = BlobStores.Open(job, site, options);
        builder.Services.AddSingleton<IBlobStores>(_ => stores); // made by a function: disposed with the host
        builder.Services.AddGrainStorage(FederationSiloBuilderExtensions.StorageName,
            static (services, _) => new BlobGrainStorage(services.GetRequiredService<IBlobStores>().Job));
    }

    private sealed class BlobStores(IBlobStore job, IBlobStore site) : IBlobStores, IDisposable
    {
        public IBlobStore Job => job;

        public IBlobStore Site => site;

        public static BlobStores Open(StoreLocation job, StoreLocation? site, SiloOptions options)
        {
            var opened = new MeasuredStore(job.Open(options.StoreMode, options.Durability), "job");
            return new BlobStores(
                opened, site is null ? opened : new MeasuredStore(site.Open(options.StoreMode, options.Durability), "site"));
        }

        public void Dispose()
        {
            (job as IDisposable)?.Dispose();
            (site as IDisposable)?.Dispose();
        }
    }
}
