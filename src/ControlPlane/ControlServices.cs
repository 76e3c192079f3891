using FedRLora.Abstractions.Ports;
using FedRLora.ControlPlane.Scraping;
using FedRLora.Grains;
using FedRLora.Grains.Sites;

namespace FedRLora.ControlPlane;

/// <summary>What a control plane stands on: the silo that it is a part of.</summary>
/// <param name="Grains">The cluster's grains.</param>
/// <param name="Sites">What sites give of runs.</param>
/// <param name="Stores">The silo's stores.</param>
/// <param name="Silo">The silo.</param>
/// <param name="Time">The time.</param>
/// <param name="Metrics">What it has measured; null where it keeps none.</param>
public sealed record ControlServices(IGrainFactory Grains, SiteRuns Sites, IBlobStores Stores, SiloIdentity Silo, TimeProvider Time,
    IMetricsPage? Metrics = null);
