using System.Net;
using System.Net.Sockets;
using FedRLora.Silo;

namespace FedRLora.EndToEnd.Tests;

/// <summary>
/// Ports of loopback for several silos, each given once. They lie below those that the system gives to outgoing connections: one of these
/// may else sit on a port, or even be connected to itself, between the choice and the use.
/// </summary>
internal static class FreePorts
{
    private const int First = 15_000, Count = 17_000;
    private static int _given = Environment.ProcessId % Count; // other processes of tests begin elsewhere

    /// <summary>Different ports that nobody listens on.</summary>
    public static int[] Take(int count) => [.. Enumerable.Range(0, count).Select(static _ => Next())];

    private static int Next()
    {
        for (var tries = 0; tries < Count; tries++)
        {
            var port = First + (Interlocked.Increment(ref _given) & int.MaxValue) % Count;
            if (port != SiloPorts.Gateway && IsFree(port)) return port;
        }

        throw new InvalidOperationException("No port is free.");
    }

    private static bool IsFree(int port)
    {
        try
        {
            using var listener = new TcpListener(IPAddress.Loopback, port);
            listener.Start();
            return true;
        }
        catch (SocketException)
        {
            return false;
        }
    }
}
