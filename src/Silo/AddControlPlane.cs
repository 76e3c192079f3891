using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.ControlPlane;
using FedRLora.ControlPlane.Http;
using FedRLora.Training.Adapters;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace FedRLora.Silo;

internal static class ControlPlaneBuilderExtensions
{
    /// <summary>The control plane of the silo.</summary>
    public static void AddControlPlane(this IHostApplicationBuilder builder, ControlOptions control, string root) => builder.Services
        .AddSingleton(services => new ControlServer(
            control, ControlServices.Of(services) with { BytesOf = plan => BytesOf(plan, root) },
            services.GetRequiredService<ILoggerFactory>()))
        .AddHostedService(static services => services.GetRequiredService<ControlServer>());

    private static IReadOnlyDictionary<string, long>? BytesOf(FederationPlan plan, string root)
    {
        try
        {
            return plan.Adapter.From is null ? AdapterSizes.On(plan.Adapter, Path.GetFullPath(plan.Model.Path, root)).Bytes : null;
        }
        catch (BadInputException)
        {
            return null; // the model is at the sites, which have it or say that they have not
        }
    }
}
