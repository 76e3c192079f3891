using System.Buffers.Text;
using System.Collections.Concurrent;
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
    private readonly ConcurrentDictionary<string, long> _made = new(StringComparer.Ordinal);
    private readonly ConcurrentDictionary<string, bool> _sessions = new(StringComparer.Ordinal);

    /// <summary>A new code.</summary>
    public string Code()
    {
        var code = Base64Url.EncodeToString(RandomNumberGenerator.GetBytes(CodeBytes));
        _made[code] = time.GetTimestamp();
        return code;
    }

    /// <summary>
    /// What a browser that was let in keeps: it is worth nothing elsewhere and ends with the process. Cookies know no ports, so that other
    /// servers of the machine may see it.
    /// </summary>
    public string Session()
    {
        var session = Base64Url.EncodeToString(RandomNumberGenerator.GetBytes(CodeBytes));
        _sessions[session] = true;
        return session;
    }

    /// <summary>Whether a browser was let in with it.</summary>
    public bool IsSession(string session) => _sessions.ContainsKey(session);

    /// <summary>Whether the code is one, is not too old and was not taken before.</summary>
    public bool Take(string? code) => code is not null && _made.TryRemove(code, out var made) && time.GetElapsedTime(made) < ValidFor;
}
