using FedRLora.Abstractions.Ports;
using FedRLora.Grains.Inputs;
using FedRLora.Grains.Sites;
using FedRLora.Grains.Store;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace FedRLora.Grains.Coordination;

/// <summary>What the parts of every coordinator of a silo share.</summary>
internal sealed record CoordinatorServices(
    IGrainFactory Grains, ITrainer Trainer, IRunInputs Inputs, InputGuard Guard, SiloIdentity Silo, SiteWatch Sites, IBlobStores Stores,
    SiloCache Cache, GrainSettings Settings, ClientSeries ClientSeries, CoordinatedRuns Here, TimeProvider Time,
    IHostApplicationLifetime Lifetime, ILogger<CoordinatorGrain> Logger)
{
    /// <summary>The store of jobs.</summary>
    public IBlobStore Store => Stores.Job;
}
