using System.Collections.Concurrent;
using System.Net;
using System.Net.Sockets;
using System.Text;

namespace FedRLora.EndToEnd.Tests.Telemetry;

/// <summary>An OTLP collector on loopback that keeps what is posted to it.</summary>
internal sealed class Collector : IDisposable
{
    private readonly HttpListener _listener = new();

    /// <param name="port">Its port; null for a free one.</param>
    public Collector(int? port = null)
    {
        Address = $"http://127.0.0.1:{port ?? FreePorts.Take(1)[0]}";
        _listener.Prefixes.Add(Address + "/");
        _listener.Start();
        _ = AnswerAsync();
    }

    public string Address { get; }

    public int Status { get; init; } = 200;

    public ConcurrentQueue<(string Path, string Body)> Posts { get; } = [];

    public void Dispose() => _listener.Close();

    private async Task AnswerAsync()
    {
        while (_listener.IsListening)
        {
            HttpListenerContext context;
            try
            {
                context = await _listener.GetContextAsync();
            }
            catch (Exception e) when (e is HttpListenerException or ObjectDisposedException)
            {
                return; // closed
            }

            using var reader = new StreamReader(context.Request.InputStream, Encoding.Latin1);
            Posts.Enqueue((context.Request.Url!.AbsolutePath, await reader.ReadToEndAsync()));
            context.Response.StatusCode = Status;
            context.Response.Close();
        }
    }
}

/// <summary>A collector that takes every connection, reads what is sent, and never answers.</summary>
internal sealed class HangingCollector : IDisposable
{
    private readonly TcpListener _listener = new(IPAddress.Loopback, 0);
    private readonly ConcurrentBag<TcpClient> _taken = [];

    public HangingCollector()
    {
        _listener.Start();
        _ = TakeAsync();
    }

    public string Address => $"http://127.0.0.1:{((IPEndPoint)_listener.LocalEndpoint).Port}";

    public int Taken => _taken.Count;

    public void Dispose()
    {
        _listener.Stop();
        foreach (var taken in _taken) taken.Dispose();
    }

    private async Task TakeAsync()
    {
        try
        {
            while (true) _taken.Add(await _listener.AcceptTcpClientAsync());
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException)
        {
            // stopped
        }
    }
}
