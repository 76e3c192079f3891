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

    /// <summary>Makes the silo a member. It listens on loopback, whatever keeps the membership.</summary>
    public static ISiloBuilder AddClustering(this ISiloBuilder silo, SiloOptions options)
    {
        silo.Configure<ClusterMembershipOptions>(membership => Tune(membership, options.ProbeEvery));
        if (options.Cluster is not ClusterLocation.Redis redis)
            return silo.UseLocalhostClustering(options.SiloPort, options.GatewayPort,
                options.PrimaryPort is { } primary ? new IPEndPoint(IPAddress.Loopback, primary) : null, options.ClusterId,
                options.ClusterId);
        return silo
            .ConfigureEndpoints(IPAddress.Loopback, options.SiloPort, options.GatewayPort)
            .Configure<ClusterOptions>(cluster => Name(cluster, options.ClusterId))
            .UseRedisClustering(membership =>
            {
                membership.ConfigurationOptions = RedisMembership.Configuration(redis);
                membership.CreateMultiplexer = RedisMembership.Shared(redis);
            })
            .UseRedisReminderService(reminders => reminders.ConfigurationOptions = RedisMembership.Configuration(redis))
            .AddHealing();
    }

    // Around whatever table was registered last; the silo's own memory, as on localhost, cannot come back empty while the silo lives.
    private static ISiloBuilder AddHealing(this ISiloBuilder silo)
    {
        var table = silo.Services.Last(static service => service.ServiceType == typeof(IMembershipTable)).ImplementationFactory
            ?? throw new InvalidOperationException("The membership table is not made by a function.");
        silo.Services
            .AddSingleton(services => new HealingMembershipTable(
                (IMembershipTable)table(services), services.GetRequiredService<ILocalSiloDetails>().SiloAddress, RedisMembership.IsAway,
                services.GetRequiredService<TimeProvider>()))
            .AddSingleton<IMembershipTable>(static services => services.GetRequiredService<HealingMembershipTable>())
            .AddHostedService<MembershipHealer>();
        return silo;
    }

    // Reminders are kept by service, so that two clusters on one server have to be two services.
    private static void Name(ClusterOptions cluster, string id) => (cluster.ClusterId, cluster.ServiceId) = (id, id);

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
