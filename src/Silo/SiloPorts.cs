using System.Net;
using System.Net.Sockets;

namespace FedRLora.Silo;

/// <summary>Ports on loopback.</summary>
public static class SiloPorts
{
    /// <summary>Where the first silo of a machine listens for silos, unless told otherwise.</summary>
    public const int Silo = 11111;

    /// <summary>Where the first silo of a machine listens for cluster clients, unless told otherwise.</summary>
    public const int Gateway = 30000;

    /// <summary>Two different ports that nobody listens on.</summary>
    public static (int Silo, int Gateway) Free()
    {
        using var first = new TcpListener(IPAddress.Loopback, 0);
        using var second = new TcpListener(IPAddress.Loopback, 0);
        first.Start();
        second.Start();
        return (((IPEndPoint)first.LocalEndpoint).Port, ((IPEndPoint)second.LocalEndpoint).Port);
    }
}
