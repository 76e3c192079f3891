using FedRLora.Silo.Trackers;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;

namespace FedRLora.Silo;

internal static class MlflowBuilderExtensions
{
    /// <summary>Sends the runs that the silo coordinates to an MLflow server.</summary>
    public static void AddMlflow(this IHostApplicationBuilder builder, MlflowServer server) => builder.Services
        .AddSingleton(server).AddSingleton(new TrackerSettings()).AddSingleton<MlflowExport>()
        .AddHostedService(static services => services.GetRequiredService<MlflowExport>());
}
