using System.Net;
using System.Net.Sockets;

namespace FedRLora.Grains.Tests.Control;

/// <summary>Passes connections on to a server, which may be another one for each, and can cut those that are open.</summary>
internal sealed class TcpProxy : IAsyncDisposable
{
    private readonly TcpListener _listener = new(IPAddress.Loopback, 0);
    private readonly CancellationTokenSource _over = new();
    private readonly List<TcpClient> _open = [];
    private readonly Lock _gate = new();
    private readonly Task _accepting;

    public TcpProxy(Uri target)
    {
        Target = target;
        _listener.Start();
        _accepting = AcceptAsync();
    }

    /// <summary>Where the next connection goes.</summary>
    public Uri Target { get; set; }

    public Uri Address => new($"http://{_listener.LocalEndpoint}");

    /// <summary>Ends every open connection as a broken network does: without a word.</summary>
    public void Cut()
    {
        lock (_gate)
        {
            foreach (var connection in _open)
            {
                // none where its other side went first
                if (connection.Client is { } socket) socket.LingerState = new(enable: true, seconds: 0);
                connection.Dispose();
            }

            _open.Clear();
        }
    }

    public async ValueTask DisposeAsync()
    {
        await _over.CancelAsync();
        _listener.Stop();
        Cut();
        await _accepting;
        _over.Dispose();
    }

    private async Task AcceptAsync()
    {
        try
        {
            while (true)
            {
                var near = await _listener.AcceptTcpClientAsync(_over.Token);
                var far = new TcpClient();
                await far.ConnectAsync(Target.Host, Target.Port, _over.Token);
                lock (_gate) _open.AddRange([near, far]);
                _ = Task.WhenAll(PassAsync(near, far), PassAsync(far, near));
            }
        }
        catch (Exception e) when (e is OperationCanceledException or SocketException or ObjectDisposedException)
        {
            // The test is over.
        }
    }

    private static async Task PassAsync(TcpClient from, TcpClient to)
    {
        try
        {
            await from.GetStream().CopyToAsync(to.GetStream());
            to.Client.Shutdown(SocketShutdown.Send);
        }
        catch (Exception e) when (e is IOException or SocketException or InvalidOperationException)
        {
            to.Dispose(); // one side is gone
        }
    }
}
