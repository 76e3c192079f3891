using System.Collections.Concurrent;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text;

namespace FedRLora.EndToEnd.Tests;

/// <summary>Something on a port of loopback that answers each request with the bytes it is told to, or with none.</summary>
internal sealed class ScriptedServer : IAsyncDisposable
{
    private readonly TcpListener _listener = new(IPAddress.Loopback, 0);
    private readonly CancellationTokenSource _stopped = new();
    private readonly Func<string, Stream, CancellationToken, Task> _answer;
    private readonly ConcurrentBag<Task> _connections = [];
    private readonly Task _listening;
    private int _isOver;

    /// <param name="answer">
    /// Given the head of a request, with its first line, and where the answer goes; then the connection is closed.
    /// </param>
    public ScriptedServer(Func<string, Stream, CancellationToken, Task> answer)
    {
        _answer = answer;
        _listener.Start();
        _listening = ListenAsync();
    }

    public string Url => $"http://127.0.0.1:{((IPEndPoint)_listener.LocalEndpoint).Port}";

    /// <summary>The heads of the requests, in the order in which they came.</summary>
    public ConcurrentQueue<string> Requests { get; } = [];

    /// <summary>One that gives the same answer to everything.</summary>
    public static ScriptedServer Giving(int status, string body, string type = "application/json", params string[] headers) =>
        new((_, to, token) => to.WriteAsync(Http(status, body, type, headers), token).AsTask());

    /// <summary>An answer with its head.</summary>
    public static byte[] Http(int status, string body, string type = "application/json", params string[] headers)
    {
        var content = Encoding.UTF8.GetBytes(body);
        return [.. Head(status, content.Length, type, headers), .. content];
    }

    /// <summary>The head of an answer.</summary>
    public static byte[] Head(int status, long length, string type, params string[] headers)
    {
        string[] head =
        [
            $"HTTP/1.1 {status} X", $"Content-Type: {type}", $"Content-Length: {length.ToString(CultureInfo.InvariantCulture)}",
            .. headers, "Connection: close", "", "",
        ];
        return Encoding.ASCII.GetBytes(string.Join("\r\n", head));
    }

    public async ValueTask DisposeAsync()
    {
        if (Interlocked.Exchange(ref _isOver, 1) == 1) return;
        await _stopped.CancelAsync();
        _listener.Dispose();
        await _listening;
        await Task.WhenAll(_connections);
        _stopped.Dispose();
    }

    private async Task ListenAsync()
    {
        try
        {
            while (true) _connections.Add(ServeAsync(await _listener.AcceptTcpClientAsync(_stopped.Token)));
        }
        catch (Exception e) when (e is OperationCanceledException or SocketException or ObjectDisposedException)
        {
            // the end of the test
        }
    }

    private async Task ServeAsync(TcpClient client)
    {
        using (client)
        {
            try
            {
                var stream = client.GetStream();
                var head = await HeadAsync(stream);
                Requests.Enqueue(head);
                await _answer(head, stream, _stopped.Token);
            }
            catch (Exception e) when (e is OperationCanceledException or IOException)
            {
                // the end of the test, or of the caller's patience
            }
        }
    }

    private async Task<string> HeadAsync(NetworkStream stream)
    {
        var head = new StringBuilder();
        var one = new byte[1];
        while (!head.ToString().EndsWith("\r\n\r\n", StringComparison.Ordinal) && await stream.ReadAsync(one, _stopped.Token) > 0)
            head.Append((char)one[0]);
        return head.ToString();
    }
}
