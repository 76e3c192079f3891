using System.Net;
using System.Net.Sockets;

namespace FedRLora.Client.Cluster;

/// <summary>What can be known of ports before a silo is started: Orleans shares a used port without a word and joins for ever.</summary>
internal static class Loopback
{
    private static readonly TimeSpan AskEvery = TimeSpan.FromMilliseconds(200);

    /// <summary>Makes sure that nobody listens on a port of loopback.</summary>
    /// <exception cref="EnvironmentException">Somebody does; the message ends with <paramref name="advice"/>.</exception>
    public static void RequireFree(int port, string advice) => RequireFree(new IPEndPoint(IPAddress.Loopback, port), advice);

    /// <summary>Makes sure that this process can listen there.</summary>
    /// <exception cref="EnvironmentException">It cannot; where somebody does, the message ends with <paramref name="advice"/>.</exception>
    public static void RequireFree(IPEndPoint where, string advice)
    {
        using var listener = new TcpListener(where);
        if (where.Address.Equals(IPAddress.IPv6Any)) listener.Server.DualMode = true;
        try
        {
            listener.Start();
        }
        catch (SocketException e)
        {
            throw new EnvironmentException(e.SocketErrorCode switch
            {
                SocketError.AddressNotAvailable => $"--listen: {where.Address} is no address of this machine",
                SocketError.AddressFamilyNotSupported => $"--listen: {where.Address}: this machine has no IPv6",
                SocketError.AccessDenied => $"port {where.Port}: this user may not listen on it; ports from 1024 on are for everybody",
                _ => $"port {where.Port} is in use on {where.Address}; {advice}",
            }, e);
        }
    }

    /// <summary>Waits until somebody listens.</summary>
    /// <exception cref="EnvironmentException">Nobody does within <paramref name="patience"/>.</exception>
    public static async Task RequireListenerAsync(IPEndPoint where, TimeSpan patience, CancellationToken cancellationToken)
    {
        using var enough = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        enough.CancelAfter(patience);
        try
        {
            while (!await AnswersAsync(where, enough.Token)) await Task.Delay(AskEvery, enough.Token);
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            throw NoSilo(where);
        }
    }

    /// <summary>What is said when a silo cannot be joined.</summary>
    public static EnvironmentException NoSilo(IPEndPoint where) =>
        new($"no silo answers on {where}; start the first silo, or give its port to --join");

    private static async Task<bool> AnswersAsync(IPEndPoint where, CancellationToken cancellationToken)
    {
        using var client = new TcpClient(where.AddressFamily);
        try
        {
            await client.ConnectAsync(where, cancellationToken);
            return true;
        }
        catch (SocketException)
        {
            return false;
        }
    }
}
