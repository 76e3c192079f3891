using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.ControlPlane;
using FedRLora.ControlPlane.Http;
using FedRLora.Pki;
using FedRLora.Training.Adapters;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using Orleans.Dashboard;
using Orleans.Hosting;

namespace FedRLora.Silo;

internal static class ControlPlaneBuilderExtensions
{
    /// <summary>The control plane of the silo.</summary>
    public static void AddControlPlane(this IHostApplicationBuilder builder, SiloOptions options, ControlOptions control)
    {
        var root = options.Root;
        var ofDashboard = typeof(DashboardOptions).Assembly;
        Type[] dashboard = !control.OrleansDashboard ? [] :
        [
            typeof(IOptions<DashboardOptions>),
            .. builder.Services.Select(static service => service.ServiceType)
                .Where(type => type.Assembly == ofDashboard && !type.ContainsGenericParameters).Distinct(),
        ];
        builder.Services
            .AddSingleton(services => new ControlServer(
                control,
                ControlServices.Of(services) with
                {
                    Identity = control.Tls == options.Tls && control.TrustDomain == options.TrustDomain
                        ? services.GetService<TlsIdentity>() : null,
                    BytesOf = plan => BytesOf(plan, root),
                    Dashboard = [.. dashboard.Select(type => ServiceDescriptor.Singleton(type, _ => services.GetRequiredService(type)))],
                },
                services.GetRequiredService<ILoggerFactory>()))
            .AddHostedService(static services => services.GetRequiredService<ControlServer>());
    }

    /// <summary>
    /// What Orleans' dashboard shows is gathered on this silo, where that was asked for; its page is the control plane's.
    /// </summary>
    public static ISiloBuilder AddOrleansDashboard(this ISiloBuilder silo, SiloOptions options) =>
        options.Control is { OrleansDashboard: true } ? silo.AddDashboard(static dashboard => dashboard.HideTrace = true) : silo;

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
