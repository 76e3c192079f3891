using System.Net;
using System.Net.Sockets;
using Azure.Core;
using Azure.Core.Pipeline;

namespace FedRLora.Grains.Tests.Stores;

/// <summary>Loses the answer to one request that writes a blob, after the service has acted on it.</summary>
internal sealed class LostAnswer : HttpPipelineSynchronousPolicy
{
    private int _left;

    /// <summary>Called when the answer is lost, before the request is tried again.</summary>
    public Func<Task> Meanwhile { get; set; } = static () => Task.CompletedTask;

    /// <summary>The next one is lost.</summary>
    public void Arm() => _left = 1;

    public bool IsArmed => _left > 0;

    public override async ValueTask ProcessAsync(HttpMessage message, ReadOnlyMemory<HttpPipelinePolicy> pipeline)
    {
        await ProcessNextAsync(message, pipeline);
        var query = message.Request.Uri.Query;
        var makesBlob = message.Request.Method == RequestMethod.Put && !query.Contains("comp=block&", StringComparison.Ordinal)
            && !query.Contains("restype=", StringComparison.Ordinal);
        if (!makesBlob || Interlocked.Exchange(ref _left, 0) == 0) return;
        await Meanwhile();
        throw new IOException("The connection was reset.");
    }
}

/// <summary>A server that accepts connections and never answers.</summary>
internal sealed class SilentServer : IDisposable
{
    private readonly TcpListener _listener = new(IPAddress.Loopback, 0);

    public SilentServer() => _listener.Start(); // the system accepts for us

    public int Port => ((IPEndPoint)_listener.LocalEndpoint).Port;

    public void Dispose() => _listener.Dispose();
}
