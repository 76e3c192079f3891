using System.Net;
using FedRLora.Silo.Clustering;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Orleans;
using Orleans.Configuration;
using Orleans.Hosting;
using Orleans.Runtime;

namespace FedRLora.Silo;

/// <summary>Membership; the one place that knows where it is kept.</summary>
public static class ClusteringBuilderExtensions
{
    private const int MissedProbes = 2;

    /// <summary>Makes the silo a member, at the addresses that it is told: Orleans would choose one by itself, and the wrong one.</summary>
    public static ISiloBuilder AddClustering(this ISiloBuilder silo, SiloOptions options)
    {
        silo.Configure<ClusterMembershipOptions>(membership => Tune(membership, options.ProbeEvery));
        silo = options.Cluster switch
        {
            ClusterLocation.Redis redis => silo.AddRedis(redis).Named(options.ClusterId).AddHealing(RedisMembership.IsAway),
            ClusterLocation.AzureTable table => silo.AddTables(table).Named(options.ClusterId).AddHealing(TableMembership.IsAway),
            _ => silo.UseLocalhostClustering(options.SiloPort, options.GatewayPort,
                new IPEndPoint(options.Reached, options.PrimaryPort ?? options.SiloPort), options.ClusterId, options.ClusterId),
        };
        return silo.Configure<EndpointOptions>(endpoints =>
        {
            endpoints.AdvertisedIPAddress = options.Reached;
            (endpoints.SiloPort, endpoints.GatewayPort) = (options.SiloPort, options.GatewayPort);
            endpoints.SiloListeningEndpoint = new(options.Listen, options.SiloPort);
            endpoints.GatewayListeningEndpoint = new(options.Listen, options.GatewayPort);
        });
    }

    private static ISiloBuilder AddRedis(this ISiloBuilder silo, ClusterLocation.Redis redis) => silo
        .UseRedisClustering(membership =>
        {
            membership.ConfigurationOptions = RedisMembership.Configuration(redis);
            membership.CreateMultiplexer = RedisMembership.Shared(redis);
        })
        .UseRedisReminderService(reminders => reminders.ConfigurationOptions = RedisMembership.Configuration(redis));

    private static ISiloBuilder AddTables(this ISiloBuilder silo, ClusterLocation.AzureTable table)
    {
        var account = TableMembership.Open(table);
        return silo
            .UseAzureStorageClustering(membership => (membership.TableServiceClient, membership.TableName) = (account, table.Table))
            .UseAzureTableReminderService(reminders => reminders.Configure(kept =>
                (kept.TableServiceClient, kept.TableName) = (account, table.Reminders)));
    }

    // Around whatever table was registered last; the silo's own memory, as on localhost, cannot come back empty while the silo lives.
    private static ISiloBuilder AddHealing(this ISiloBuilder silo, Func<Exception, bool> isAway)
    {
        var table = silo.Services.Last(static service => service.ServiceType == typeof(IMembershipTable));
        silo.Services
            .AddSingleton(services => new HealingMembershipTable(
                Made(table, services), services.GetRequiredService<ILocalSiloDetails>().SiloAddress, isAway,
                services.GetRequiredService<TimeProvider>()))
            .AddSingleton<IMembershipTable>(static services => services.GetRequiredService<HealingMembershipTable>())
            .AddHostedService<MembershipHealer>();
        return silo;
    }

    private static IMembershipTable Made(ServiceDescriptor table, IServiceProvider services) => table switch
    {
        { ImplementationFactory: { } make } => (IMembershipTable)make(services),
        { ImplementationType: { } type } => (IMembershipTable)ActivatorUtilities.CreateInstance(services, type),
        _ => throw new InvalidOperationException("The membership table is made neither by a function nor from a type."),
    };

    // Reminders are kept by service, so that two clusters on one server have to be two services.
    private static ISiloBuilder Named(this ISiloBuilder silo, string id) =>
        silo.Configure<ClusterOptions>(cluster => (cluster.ClusterId, cluster.ServiceId) = (id, id));

    private static void Tune(ClusterMembershipOptions membership, TimeSpan probeEvery)
    {
        membership.ProbeTimeout = probeEvery;
        membership.NumMissedProbesLimit = MissedProbes; // a silo that still sends messages is not declared dead, however slow it answers
        // never more than half of those that are up: one that reaches nobody else cannot remove the others
        membership.NumVotesForDeathDeclaration = 2;
        membership.TableRefreshTimeout = probeEvery * 5;
        // Who joins asks every member first. Where all were killed at once, nobody is left to probe their rows but the one that joins, and
        // only once they are stale.
        membership.IAmAliveTablePublishTimeout = probeEvery * 2;
        membership.MaxJoinAttemptTime = TimeSpan.FromMinutes(2);
        // Rows of silos that come and go every few seconds must not pile up;
        // those of the last minutes tell a slow joiner that it was given up.
        membership.DefunctSiloMinimumRetention = TimeSpan.FromMinutes(5);
        membership.DefunctSiloExpiration = TimeSpan.FromMinutes(10);
        membership.DefunctSiloCleanupPeriod = TimeSpan.FromMinutes(1);
    }
}
