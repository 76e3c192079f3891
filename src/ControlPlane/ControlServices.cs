using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;
using FedRLora.ControlPlane.Scraping;
using FedRLora.Grains;
using FedRLora.Grains.Silos;
using FedRLora.Grains.Sites;
using FedRLora.Grains.Upkeep;
using FedRLora.Pki;
using Microsoft.Extensions.DependencyInjection;

namespace FedRLora.ControlPlane;

/// <summary>What a control plane stands on: the silo that it is a part of.</summary>
public sealed record ControlServices
{
    /// <summary>The cluster's grains.</summary>
    public required IGrainFactory Grains { get; init; }

    /// <summary>What sites give of runs.</summary>
    public required SiteRuns Sites { get; init; }

    /// <summary>Checks what is stored of runs.</summary>
    public required ClusterVerification Verification { get; init; }

    /// <summary>The silos that are alive.</summary>
    public required LiveSilos Live { get; init; }

    /// <summary>The silo's stores.</summary>
    public required IBlobStores Stores { get; init; }

    /// <summary>The silo.</summary>
    public required SiloIdentity Silo { get; init; }

    /// <summary>The time.</summary>
    public required TimeProvider Time { get; init; }

    /// <summary>What it has measured; null where it keeps none.</summary>
    public IMetricsPage? Metrics { get; init; }

    /// <summary>Bytes of one client's tensors of a plan, by their role; null where its model is not known here.</summary>
    public Func<FederationPlan, IReadOnlyDictionary<string, long>?>? BytesOf { get; init; }

    /// <summary>Services of the silo's host that Orleans' dashboard works with; empty where it was not switched on.</summary>
    public IReadOnlyList<ServiceDescriptor> Dashboard { get; init; } = [];

    /// <summary>The silo's own certificate, where the control plane shows it too; null where it opens its own files.</summary>
    public TlsIdentity? Identity { get; init; }

    /// <summary>What a silo's host gives.</summary>
    public static ControlServices Of(IServiceProvider silo) => new()
    {
        Grains = silo.GetRequiredService<IGrainFactory>(),
        Sites = silo.GetRequiredService<SiteRuns>(),
        Verification = silo.GetRequiredService<ClusterVerification>(),
        Live = silo.GetRequiredService<LiveSilos>(),
        Stores = silo.GetRequiredService<IBlobStores>(),
        Silo = silo.GetRequiredService<SiloIdentity>(),
        Time = silo.GetRequiredService<TimeProvider>(),
        Metrics = silo.GetService<IMetricsPage>(),
    };
}
