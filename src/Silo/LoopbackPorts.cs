using System.Net;
using System.Net.Sockets;

namespace FedRLora.Silo;

/// <summary>Ports nobody listens on, on loopback.</summary>
public static class LoopbackPorts
{
    /// <summary>Two different free ports.</summary>
    public static (int Silo, int Gateway) Free()
    {
        using var first = new TcpListener(IPAddress.Loopback, 0);
        using var second = new TcpListener(IPAddress.Loopback, 0);
        first.Start();
        second.Start();
        return (((IPEndPoint)first.LocalEndpoint).Port, ((IPEndPoint)second.LocalEndpoint).Port);
    }
}
