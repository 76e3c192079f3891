using FedRLora.Abstractions.Ports;
using FedRLora.Grains.Coordination;
using FedRLora.Grains.Inputs;
using FedRLora.Grains.Jobs;
using FedRLora.Grains.Logs;
using FedRLora.Grains.Placement;
using FedRLora.Grains.Silos;
using FedRLora.Grains.Sites;
using FedRLora.Grains.Store;
using FedRLora.Grains.Upkeep;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Orleans.Configuration;
using Orleans.Hosting;
using Orleans.Placement;

namespace FedRLora.Grains;

/// <summary>Registration of the grains' needs on a silo; ports (stores, trainer, exporter) come from the host.</summary>
public static class FederationSiloBuilderExtensions
{
    /// <summary>Name of the grain storage provider that the host registers.</summary>
    public const string StorageName = "fedrlora";

    /// <summary>Adds site placement, the silo's identity, the grains' settings and what revives jobs.</summary>
    public static ISiloBuilder AddFederation(this ISiloBuilder silo, SiloIdentity identity, GrainSettings settings)
    {
        silo.Services.AddSingleton(identity).AddSingleton(settings).AddSingleton<SiloCache>().AddSingleton<DurableSite>();
        silo.Services.AddSingleton<ClientSeries>().AddSingleton<CoordinatedRuns>().AddSingleton<CoordinatorServices>();
        silo.Services.AddHostedService<JobRevival>();
        silo.Services.AddSingleton<SiteWatch>().AddHostedService(static services => services.GetRequiredService<SiteWatch>());
        silo.Services.AddSingleton(static services =>
            new SiteRuns(services.GetRequiredService<IGrainFactory>(), services.GetRequiredService<SiteWatch>()));
        silo.Services.AddSingleton<ClusterVerification>();
        silo.Services.AddSingleton(static services =>
            new InputGuard(services.GetRequiredService<IRunInputs>(), services.GetRequiredService<IBlobStores>().Job,
                services.GetRequiredService<IBlobStores>().Site));
        silo.Services.AddSingleton<LiveSilos>().AddSingleton<LogRing>()
            .AddSingleton<ILoggerProvider>(static services => services.GetRequiredService<LogRing>());
        silo.Services.AddPlacementFilter<SiloPlacementStrategy, SiloPlacementDirector>(ServiceLifetime.Singleton);
        silo.Services.AddPlacementFilter<SitePlacementStrategy, SitePlacementDirector>(ServiceLifetime.Singleton);
        silo.Services.PostConfigure<SiloOptions>(options => options.SiloName = identity.MemberName);
        return silo;
    }
}
