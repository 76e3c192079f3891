using System.Buffers.Text;
using System.Collections.Concurrent;
using System.Security.Claims;
using System.Security.Cryptography;

namespace FedRLora.ControlPlane.Access;

/// <summary>
/// Codes that let a browser in, each once and for some minutes: an address that was printed, and stays in a shell's or a browser's
/// history, opens nothing afterwards.
/// </summary>
internal sealed class Entrance(TimeProvider time)
{
    private const int CodeBytes = 24;
    private static readonly TimeSpan ValidFor = TimeSpan.FromMinutes(30);
    private static readonly TimeSpan NamedFor = TimeSpan.FromHours(12);
    private readonly ConcurrentDictionary<string, (long Made, Guest Guest)> _made = new(StringComparer.Ordinal);
    private readonly ConcurrentDictionary<string, (long Began, Guest Guest)> _sessions = new(StringComparer.Ordinal);

    /// <summary>A new code.</summary>
    /// <param name="guest">Whom the browser stands for.</param>
    public string Code(Guest guest)
    {
        foreach (var (old, (made, _)) in _made)
        {
            if (time.GetElapsedTime(made) >= ValidFor) _made.TryRemove(old, out _);
        }

        var code = Base64Url.EncodeToString(RandomNumberGenerator.GetBytes(CodeBytes));
        _made[code] = (time.GetTimestamp(), guest);
        return code;
    }

    /// <summary>
    /// What a browser that was let in keeps: it is worth nothing elsewhere and ends with the process. Cookies know no ports, so that other
    /// servers of the machine may see it.
    /// </summary>
    public string Session(Guest guest)
    {
        var session = Base64Url.EncodeToString(RandomNumberGenerator.GetBytes(CodeBytes));
        _sessions[session] = (time.GetTimestamp(), guest);
        return session;
    }

    /// <summary>Whom a browser that was let in stands for; null where it was not, or does not any more.</summary>
    public ClaimsPrincipal? Of(string session)
    {
        if (!_sessions.TryGetValue(session, out var found)) return null;
        if (found.Guest.Stands is not { } stands || (time.GetElapsedTime(found.Began) < NamedFor && stands())) return found.Guest.Principal;
        _sessions.TryRemove(session, out _);
        return null;
    }

    /// <summary>Takes a code; null where it is none, is too old or was taken before.</summary>
    public Guest? Take(string? code) =>
        code is not null && _made.TryRemove(code, out var found) && time.GetElapsedTime(found.Made) < ValidFor ? found.Guest : null;
}

/// <summary>Whom a browser stands for.</summary>
/// <param name="Principal">Who.</param>
/// <param name="Stands">
/// Whether what its maker showed still counts, which is asked with every request for half a day at most; null on loopback, where it ends
/// with the process.
/// </param>
internal sealed record Guest(ClaimsPrincipal Principal, Func<bool>? Stands);
