using System.Net;
using System.Net.Sockets;

namespace FedRLora.Client.Cluster;

/// <summary>What can be known of ports before a silo is started: Orleans shares a used port without a word and joins for ever.</summary>
internal static class Loopback
{
    private static readonly TimeSpan AskEvery = TimeSpan.FromMilliseconds(200);

    /// <summary>Makes sure that nobody listens on a port.</summary>
    /// <exception cref="EnvironmentException">Somebody does; the message ends with <paramref name="advice"/>.</exception>
    public static void RequireFree(int port, string advice)
    {
        using var listener = new TcpListener(IPAddress.Loopback, port);
        try
        {
            listener.Start();
        }
        catch (SocketException e)
        {
            throw new EnvironmentException($"port {port} is in use on 127.0.0.1; {advice}", e);
        }
    }

    /// <summary>Waits until somebody listens on a port.</summary>
    /// <exception cref="EnvironmentException">Nobody does within <paramref name="patience"/>.</exception>
    public static async Task RequireListenerAsync(int port, TimeSpan patience, CancellationToken cancellationToken)
    {
        using var enough = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        enough.CancelAfter(patience);
        try
        {
            while (!await AnswersAsync(port, enough.Token)) await Task.Delay(AskEvery, enough.Token);
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            throw NoSilo(port);
        }
    }

    /// <summary>What is said when a silo cannot be joined.</summary>
    public static EnvironmentException NoSilo(int port) =>
        new($"no silo answers on 127.0.0.1:{port}; start the first silo, or give its port to --join");

    private static async Task<bool> AnswersAsync(int port, CancellationToken cancellationToken)
    {
        using var client = new TcpClient();
        try
        {
            await client.ConnectAsync(IPAddress.Loopback, port, cancellationToken);
            return true;
        }
        catch (SocketException)
        {
            return false;
        }
    }
}
