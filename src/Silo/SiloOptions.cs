using System.Net;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Sending;
using FedRLora.ControlPlane;
using FedRLora.Pki;
using FedRLora.Silo.Trackers;
using FedRLora.Training.Devices;

namespace FedRLora.Silo;

/// <summary>What a silo process is told. It listens on loopback unless <see cref="Tls"/> says who its peers may be.</summary>
public sealed record SiloOptions
{
    /// <summary>The silo's name; unique among running silos.</summary>
    public required string Name { get; init; }

    /// <summary>The sites it serves; "*" for all on one machine.</summary>
    public required IReadOnlyList<string> Sites { get; init; }

    /// <summary>The folder that relative model and data paths of plans start from.</summary>
    public required string Root { get; init; }

    /// <summary>
    /// The job's blobs: a folder, or a container's URL (<see cref="Storage.StoreLocation"/>). May hold a signature: show
    /// <see cref="Storage.StoreLocation.Name"/>.
    /// </summary>
    public required string Store { get; init; }

    /// <summary>
    /// The site's own blobs, heads and optimizer states: a folder or a container's URL; null keeps them beside the job's.
    /// </summary>
    public string? SiteStore { get; init; }

    /// <summary>Who may read and write what lies in folders.</summary>
    public StoreMode StoreMode { get; init; }

    /// <summary>What a power cut may take of what lies in folders.</summary>
    public Durability Durability { get; init; }

    /// <summary>What the administrators of its sites let leave them.</summary>
    public SendingLimits MaySend { get; init; } = SendingLimits.None;

    /// <summary>Groups that train side by side; null for as many as there are processors, one on a GPU.</summary>
    public int? Lanes { get; init; }

    /// <summary>Devices that it trains on (<see cref="DeviceNames"/>).</summary>
    public IReadOnlyList<string> Devices { get; init; } = [DeviceNames.Cpu];

    /// <summary>The MLflow server that the runs which it coordinates are sent to; null: none.</summary>
    public MlflowServer? Mlflow { get; init; }

    /// <summary>How many series of metrics with a client as label it may have; 0 for none.</summary>
    public int ClientMetrics { get; init; }

    /// <summary>Port between silos.</summary>
    public required int SiloPort { get; init; }

    /// <summary>Port for cluster clients.</summary>
    public required int GatewayPort { get; init; }

    /// <summary>The address that it listens on, which may be any.</summary>
    public IPAddress Listen { get; init; } = IPAddress.Loopback;

    /// <summary>The address that others reach it by; null for <see cref="Listen"/>.</summary>
    public IPAddress? Advertise { get; init; }

    /// <summary>The address that others reach it by.</summary>
    public IPAddress Reached => Advertise ?? Listen;

    /// <summary>
    /// The files of its certificate, with which silos and cluster clients are talked to over mutual TLS; null: plain connections.
    /// </summary>
    public TlsFiles? Tls { get; init; }

    /// <summary>The trust domain of <see cref="Tls"/>.</summary>
    public string TrustDomain { get; init; } = SanNames.DefaultDomain;

    /// <summary>Where it is seen and steered from over HTTP; null: nowhere.</summary>
    public ControlOptions? Control { get; init; }

    /// <summary>Where the silos find one another.</summary>
    public ClusterLocation Cluster { get; init; } = new ClusterLocation.Localhost();

    /// <summary>Which cluster it is of several that share a place; as an identifier.</summary>
    public string ClusterId { get; init; } = SiloHost.ServiceId;

    /// <summary>
    /// With <see cref="ClusterLocation.Localhost"/>, silo port of the process that keeps the membership table; null: this one.
    /// </summary>
    public int? PrimaryPort { get; init; }

    /// <summary>
    /// Whether the silo works only as part of the cluster that holds the store's lease, and <see cref="Clustering.LeaseKeeper.EnterAsync"/>
    /// comes before its start; false where something else keeps others from the store, as a run folder's lock does.
    /// </summary>
    public bool Leased { get; init; }

    /// <summary>How long a client may be silent before its work is sent again.</summary>
    public TimeSpan ResendAfter { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>Whether runs begin the local-only reference that their plan asks for; false where the host sees to that itself.</summary>
    public bool BeginsReferences { get; init; } = true;

    /// <summary>Time between two probes of a neighbouring silo; two missed ones make it dead.</summary>
    public TimeSpan ProbeEvery { get; init; } = TimeSpan.FromSeconds(2);
}
