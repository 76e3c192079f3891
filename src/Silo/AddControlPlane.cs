using FedRLora.Abstractions.Ports;
using FedRLora.ControlPlane;
using FedRLora.ControlPlane.Http;
using FedRLora.ControlPlane.Scraping;
using FedRLora.Grains;
using FedRLora.Grains.Sites;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Orleans;

namespace FedRLora.Silo;

internal static class ControlPlaneBuilderExtensions
{
    /// <summary>The control plane of the silo.</summary>
    public static void AddControlPlane(this IHostApplicationBuilder builder, ControlOptions control) => builder.Services
        .AddSingleton(static services => new ControlServices(
            services.GetRequiredService<IGrainFactory>(), services.GetRequiredService<SiteRuns>(),
            services.GetRequiredService<IBlobStores>(), services.GetRequiredService<SiloIdentity>(), services.GetRequiredService<TimeProvider>(),
            services.GetRequiredService<IMetricsPage>()))
        .AddSingleton(services => new ControlServer(
            control, services.GetRequiredService<ControlServices>(), services.GetRequiredService<ILoggerFactory>()))
        .AddHostedService(static services => services.GetRequiredService<ControlServer>());
}
