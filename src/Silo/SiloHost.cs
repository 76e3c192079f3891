using FedRLora.Grains;
using FedRLora.Silo.Clustering;
using FedRLora.Silo.Storage;
using FedRLora.Silo.Tls;
using FedRLora.Training;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Orleans.Configuration;
using Orleans.Hosting;

namespace FedRLora.Silo;

/// <summary>The composition root: the only place where grains, trainer and stores meet.</summary>
public static class SiloHost
{
    /// <summary>Id of the Orleans service and cluster, unless told otherwise.</summary>
    public const string ServiceId = "fedrlora";

    // Each says of a lost silo, with a stack trace and for every message, what the grains and the revival of jobs say once.
    private static readonly string[] AboutLostSilos =
    [
        "Orleans.Grain", "Orleans.Messaging", "Orleans.Runtime.GrainCallCancellationManager", "Orleans.Runtime.GrainDirectory",
        "Orleans.Runtime.MembershipService.MembershipAgent", "Orleans.Runtime.MembershipService.SiloMetadata",
    ];

    /// <summary>A silo ready to start, with the real trainer unless <paramref name="configure"/> replaces it.</summary>
    public static IHost Create(SiloOptions options, Action<HostApplicationBuilder>? configure = null)
    {
        var builder = Host.CreateApplicationBuilder(new HostApplicationBuilderSettings { DisableDefaults = true });
        builder.Configuration.AddEnvironmentVariables(); // the OTEL_* variables
        builder.Services.Configure<HostOptions>(static host => host.ShutdownTimeout = TimeSpan.FromSeconds(10));
        var ending = new SiloEnding();
        // a start that fails is told by who asked for it, and an ending by its reason
        builder.Logging.SetMinimumLevel(LogLevel.Information).AddFilter("Orleans", level => level >= LogLevel.Error && !ending.IsOver)
            .AddFilter("Microsoft", LogLevel.Warning).AddFilter("Polly", LogLevel.None)
            .AddFilter("Microsoft.Extensions.Hosting", level => level >= LogLevel.Critical && !ending.IsOver);
        // without the first silo each of the others would say so every few seconds
        if (options.Cluster is ClusterLocation.Localhost)
            builder.Logging.AddFilter("Orleans.Runtime.MembershipService.MembershipTableManager", LogLevel.Critical);
        foreach (var category in AboutLostSilos) builder.Logging.AddFilter(category, LogLevel.Critical);
        builder.Services.AddSingleton(TimeProvider.System);
        builder.AddStorage(options);
        builder.AddTraining(options);
        builder.AddTelemetry(options);
        configure?.Invoke(builder);
        builder.Services.AddSingleton(options).AddSingleton(ending).AddSingleton<LeaseKeeper>();
        // before Orleans: it stops after it
        if (options.Leased) builder.Services.AddHostedService(static services => services.GetRequiredService<LeaseKeeper>());
        builder.UseOrleans(silo => silo
            .AddClustering(options)
            .AddTls(options)
            .AddFatalEnding(options)
            .AddOrleansDashboard(options)
            .Configure<SiloMessagingOptions>(static messaging => messaging.ResponseTimeout = TimeSpan.FromSeconds(30))
            .AddFederation(new SiloIdentity(options.Name, options.Sites) { MaySend = options.MaySend }, new GrainSettings
            {
                ResendAfter = options.ResendAfter, Reminders = options.Cluster.IsOutside, Lanes = options.Lanes,
                ClientSeries = options.ClientMetrics,
                BeginsReferences = options.BeginsReferences,
                Store = StoreLocation.Parse(StoreRole.Job, options.Store).IsFolder
                    ? new() { Mode = options.StoreMode, Durability = options.Durability }
                    : null,
            }));
        // a run folder has one silo
        if (options.Leased)
            builder.Services.AddSingleton<CloneWatch>().AddHostedService(static services => services.GetRequiredService<CloneWatch>());
        // after Orleans: they start when the silo has, and stop before it
        if (options.Mlflow is { } mlflow) builder.AddMlflow(mlflow);
        if (options.Control is { } control) builder.AddControlPlane(options, control);
        return builder.Build();
    }

    // a run folder has one silo, which nobody could give up
    private static ISiloBuilder AddFatalEnding(this ISiloBuilder silo, SiloOptions options) =>
        options.Leased ? FatalEnding.Add(silo) : silo;

    private static ISiloBuilder AddTls(this ISiloBuilder silo, SiloOptions options) => options.Tls is not { } files ? silo
        : silo.AddTls(new TlsSettings(files, options.TrustDomain, options.Name, options.Sites)
        {
            RowsComeFirst = options.Cluster is not ClusterLocation.Localhost,
        });
}
