using System.Collections.Concurrent;
using System.Security.Cryptography.X509Certificates;
using Microsoft.Extensions.Logging;

namespace FedRLora.Pki;

/// <summary>
/// Connections that a peer's certificate opened. A certificate is judged when a connection is made; <see cref="CloseRefused"/> judges it
/// again, so that none outlives the certificate or the trust in it.
/// </summary>
/// <param name="identity">The judge.</param>
/// <param name="log">Where closed connections are told.</param>
public sealed partial class OpenConnections(TlsIdentity identity, ILogger<OpenConnections> log)
{
    private readonly ConcurrentDictionary<long, Connection> _open = [];
    private long _last;

    /// <summary>How many are open.</summary>
    public int Count => _open.Count;

    /// <summary>Remembers a connection until what is returned is disposed of.</summary>
    /// <param name="peer">The peer's certificate.</param>
    /// <param name="sent">What the peer sent beside it.</param>
    /// <param name="use">What the peer showed it for.</param>
    /// <param name="name">What messages call the connection, as <c>silo connection from 10.0.0.7:11111</c>.</param>
    /// <param name="close">Closes it at once.</param>
    public IDisposable Add(X509Certificate2 peer, SentChain sent, CertificateUse use, string name, Action close)
    {
        var id = Interlocked.Increment(ref _last);
        _open[id] = new(peer, sent, use, name, close);
        return new Entry(this, id);
    }

    /// <summary>Closes every connection whose certificate would be refused now.</summary>
    /// <returns>How many were closed.</returns>
    public int CloseRefused()
    {
        var closed = 0;
        foreach (var (id, connection) in _open)
        {
            if (identity.Refusal(connection.Peer, connection.Sent.Certificates, connection.Use) is not { } refusal) continue;
            if (!_open.TryRemove(id, out _)) continue;
            LogClosed(log, connection.Name, refusal);
            connection.Close();
            closed++;
        }

        return closed;
    }

    private sealed record Connection(X509Certificate2 Peer, SentChain Sent, CertificateUse Use, string Name, Action Close);

    private sealed class Entry(OpenConnections all, long id) : IDisposable
    {
        public void Dispose() => all._open.TryRemove(id, out _);
    }

    [LoggerMessage(LogLevel.Warning, "closed the {Connection}: its certificate is refused now: {Refusal}")]
    private static partial void LogClosed(ILogger log, string connection, string refusal);
}
