using System.Net;
using FedRLora.Silo;

namespace FedRLora.Benchmarks.Training;

/// <summary>An OTLP endpoint that reads what it is sent and says yes.</summary>
internal sealed class OtlpSink : IDisposable
{
    private readonly HttpListener _listener = new();
    private long _requests;
    private long _bytes;

    public OtlpSink()
    {
        Endpoint = $"http://127.0.0.1:{SiloPorts.Free().Silo}";
        _listener.Prefixes.Add(Endpoint + "/");
        _listener.Start();
        _ = ServeAsync();
    }

    public string Endpoint { get; }

    public long Requests => Interlocked.Read(ref _requests);

    public long Bytes => Interlocked.Read(ref _bytes);

    public void Dispose() => ((IDisposable)_listener).Dispose();

    private async Task ServeAsync()
    {
        try
        {
            while (true)
            {
                var context = await _listener.GetContextAsync();
                using var body = new MemoryStream();
                await context.Request.InputStream.CopyToAsync(body);
                Interlocked.Increment(ref _requests);
                Interlocked.Add(ref _bytes, body.Length);
                context.Response.Close();
            }
        }
        catch (Exception exception) when (exception is HttpListenerException or ObjectDisposedException)
        {
            // The benchmark has ended.
        }
    }
}
