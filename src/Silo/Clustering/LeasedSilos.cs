using System.Net;
using System.Net.Sockets;
using Orleans.Runtime;

namespace FedRLora.Silo.Clustering;

/// <summary>Asks the silos of a lease whether they are there.</summary>
internal static class LeasedSilos
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(2);

    /// <summary>What becomes of a connection to each of them, all at once.</summary>
    public static Task<Reach[]> ReachAsync(this ClusterLease lease, CancellationToken cancellationToken) =>
        Task.WhenAll(lease.Silos.Select(silo => ReachAsync(silo, cancellationToken)));

    /// <summary>Whether it names one of some silos.</summary>
    public static bool Names(this ClusterLease lease, IEnumerable<SiloAddress> silos) =>
        lease.Silos.Select(static silo => silo.Address).Intersect(silos.Select(static silo => silo.ToParsableString())).Any();

    private static async Task<Reach> ReachAsync(LeasedSilo silo, CancellationToken cancellationToken)
    {
        var endpoint = SiloAddress.FromParsableString(silo.Address).Endpoint;
        var isLocal = IPAddress.IsLoopback(endpoint.Address);
        if (isLocal && silo.Host != Environment.MachineName) return Reach.Silent; // it would be asked for on the wrong machine
        using var enough = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        enough.CancelAfter(Patience);
        using var client = new TcpClient(endpoint.AddressFamily);
        try
        {
            await client.ConnectAsync(endpoint, enough.Token);
            return Reach.Accepts;
        }
        catch (SocketException e)
        {
            if (e.SocketErrorCode != SocketError.ConnectionRefused) return Reach.Silent;
            return isLocal ? Reach.Refuses : Reach.Rejected;
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            return Reach.Silent;
        }
    }
}
