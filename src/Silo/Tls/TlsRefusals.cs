using System.Collections.Concurrent;
using System.Net;
using Microsoft.Extensions.Logging;

namespace FedRLora.Silo.Tls;

/// <summary>
/// Tells of connections that came to nothing, each peer and reason once a minute: who is refused tries again every second.
/// </summary>
public sealed partial class TlsRefusals(TimeProvider time, ILogger<TlsRefusals> log)
{
    private const int Most = 1_000;
    private static readonly TimeSpan AgainAfter = TimeSpan.FromMinutes(1);
    private readonly ConcurrentDictionary<(LinkKind, string, string), long> _told = [];
    private volatile string? _last;

    /// <summary>
    /// The last one of a connection that this silo opened, as a line without its end; null where there was none. Says why a start fails.
    /// </summary>
    public string? Last => _last;

    /// <summary>This silo does not accept its peer.</summary>
    /// <param name="kind">What the connection is.</param>
    /// <param name="peer">Where the peer is.</param>
    /// <param name="reason">Why, as a sentence about the peer.</param>
    internal void Refused(LinkKind kind, EndPoint? peer, string reason)
    {
        if (kind == LinkKind.SiloOutbound) _last = $"this silo refuses the one at {peer}: {reason}";
        if (IsDue(kind, peer, reason)) LogRefused(Words(kind), PlaceOf(kind, peer), reason);
    }

    /// <summary>A connection that this silo opened ended at once, and not by its own will.</summary>
    internal void EndedByPeer(EndPoint? peer, string reason)
    {
        _last = $"the silo at {peer} refuses this one's handshake ({reason}); its log says why";
        if (IsDue(LinkKind.SiloOutbound, peer, "")) LogEnded($"{peer}", reason);
    }

    // what is in a reason before its first comma does not change from second to second, as a clock's time does
    private bool IsDue(LinkKind kind, EndPoint? peer, string reason)
    {
        var key = (kind, PlaceOf(kind, peer), reason.Split(',', 2)[0]);
        var now = time.GetTimestamp();
        if (_told.TryGetValue(key, out var before) && time.GetElapsedTime(before, now) < AgainAfter) return false;
        if (_told.Count >= Most)
        {
            foreach (var (old, at) in _told)
            {
                if (time.GetElapsedTime(at, now) >= AgainAfter) _told.TryRemove(old, out _);
            }

            if (_told.Count >= Most) return false; // somebody tries from everywhere: a thousand lines a minute say so
        }

        _told[key] = now;
        return true;
    }

    // who connects has another port each time
    private static string PlaceOf(LinkKind kind, EndPoint? peer) =>
        kind != LinkKind.SiloOutbound && peer is IPEndPoint place ? $"{place.Address}" : $"{peer}";

    private static string Words(LinkKind kind) => kind switch
    {
        LinkKind.SiloInbound => "silo connection from",
        LinkKind.SiloOutbound => "silo connection to",
        _ => "gateway connection from",
    };

    [LoggerMessage(541, LogLevel.Warning, "refused the {Kind} {Peer}: {Reason}")]
    private partial void LogRefused(string kind, string peer, string reason);

    [LoggerMessage(542, LogLevel.Warning,
        "the silo at {Peer} ended the connection at its handshake ({Reason}): it may refuse this silo's certificate; its own log says why")]
    private partial void LogEnded(string peer, string reason);
}

/// <summary>Which end of which connection.</summary>
internal enum LinkKind
{
    /// <summary>Another silo connects.</summary>
    SiloInbound,

    /// <summary>This silo connects to another.</summary>
    SiloOutbound,

    /// <summary>A cluster client connects.</summary>
    Gateway,
}
