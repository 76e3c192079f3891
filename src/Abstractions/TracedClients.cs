using System.Diagnostics;

namespace FedRLora.Abstractions;

/// <summary>
/// Which clients of a round have spans of their own: all of them up to <see cref="Most"/>, of more the <see cref="Most"/> with the lowest
/// hash of run, round and client, so that every silo chooses the same ones. A client whose work failed has its span whatever its hash.
/// </summary>
public static class TracedClients
{
    /// <summary>Clients of a phase of a round that are chosen.</summary>
    public const int Most = 200;

    /// <summary>The highest hash of a client that is chosen.</summary>
    public static ulong Bound(string run, int round, IReadOnlyCollection<string> clients) => clients.Count <= Most
        ? ulong.MaxValue
        : clients.Select(client => HashOf(run, round, client)).Order().ElementAt(Most - 1);

    /// <summary>Whether a client is chosen.</summary>
    public static bool Has(ulong bound, string run, int round, string client) =>
        bound == ulong.MaxValue || HashOf(run, round, client) <= bound;

    /// <summary>A span of which begin and end are known already; it leaves <see cref="Activity.Current"/> as it is.</summary>
    public static void Write(
        string name, ActivityContext parent, DateTimeOffset start, DateTimeOffset end, IEnumerable<KeyValuePair<string, object?>> tags,
        string? failure = null)
    {
        var current = Activity.Current;
        using (var span = Telemetry.Source.StartActivity(name, ActivityKind.Internal, parent, tags, links: null, start))
        {
            if (failure is not null) span?.SetStatus(ActivityStatusCode.Error, failure);
            span?.SetEndTime(end.UtcDateTime);
        }

        Activity.Current = current;
    }

    private static ulong HashOf(string run, int round, string client) => Seed.For(0, round, client, "trace " + run);
}
