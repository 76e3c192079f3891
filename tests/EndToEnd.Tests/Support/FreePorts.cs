using System.Net;
using System.Net.Sockets;

namespace FedRLora.EndToEnd.Tests;

/// <summary>Ports of loopback for several silos.</summary>
internal static class FreePorts
{
    /// <summary>Different ports that nobody listens on: all at once, or one silo may be given another's.</summary>
    public static int[] Take(int count)
    {
        var listeners = Enumerable.Range(0, count).Select(static _ => new TcpListener(IPAddress.Loopback, 0)).ToArray();
        foreach (var listener in listeners) listener.Start();
        var ports = listeners.Select(static listener => ((IPEndPoint)listener.LocalEndpoint).Port).ToArray();
        foreach (var listener in listeners) listener.Dispose();
        return ports;
    }
}
