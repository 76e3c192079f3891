using System.Collections.Concurrent;

namespace FedRLora.Client.Rendering;

/// <summary>What was logged in the last minute is not logged again; when it is, it counts how often it came meanwhile.</summary>
internal sealed class LogRepetitions(TimeProvider time)
{
    private const int MostRemembered = 2_000;
    private static readonly TimeSpan Quiet = TimeSpan.FromMinutes(1);
    private readonly ConcurrentDictionary<(string Category, int Id, string Text), Said> _said = new();

    /// <summary>Whether a line is to be said now.</summary>
    /// <param name="category">Who says it.</param>
    /// <param name="id">What happened.</param>
    /// <param name="text">The line.</param>
    /// <param name="now">When.</param>
    /// <param name="unsaid">How often it came since it was last said.</param>
    public bool IsDue(string category, int id, string text, out DateTimeOffset now, out int unsaid)
    {
        now = time.GetUtcNow();
        var said = _said.GetOrAdd((category, id, text), static _ => new Said());
        lock (said)
        {
            if (said.At is { } at && now - at < Quiet)
            {
                unsaid = ++said.Unsaid;
                return false;
            }

            (unsaid, said.At, said.Unsaid) = (said.Unsaid, now, 0);
        }

        Forget(now);
        return true;
    }

    private void Forget(DateTimeOffset now)
    {
        if (_said.Count <= MostRemembered) return;
        foreach (var (key, said) in _said)
        {
            if (now - said.At >= Quiet) _said.TryRemove(key, out _);
        }
    }

    private sealed class Said
    {
        public DateTimeOffset? At { get; set; }

        public int Unsaid { get; set; }
    }
}
