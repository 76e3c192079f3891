using System.Runtime.InteropServices;

namespace FedRLora.ControlPlane.Views;

/// <summary>The clients that took longest in their last round, each measured by its own median.</summary>
/// <param name="Schema">The version of the schema.</param>
/// <param name="Run">The run.</param>
/// <param name="Of">Clients whose time is known.</param>
/// <param name="Clients">The slowest first, the first few.</param>
public sealed record StragglersView(int Schema, string Run, int Of, IReadOnlyList<Straggler> Clients)
{
    private const int Most = 20;

    /// <summary>Of the seconds of every client in every round, with who decided when rounds closed.</summary>
    /// <param name="seconds">The seconds.</param>
    /// <param name="rounds">The rounds.</param>
    internal static StragglersView From(GridView seconds, IReadOnlyList<RoundAggregate> rounds)
    {
        var values = MemoryMarshal.Cast<byte, float>(seconds.Values).ToArray();
        var decided = rounds.Select(static round => round.Timing?.DecidedBy).OfType<string>().CountBy(static client => client)
            .ToDictionary(StringComparer.Ordinal);
        var clients = seconds.Clients.Select((client, place) => Of(client, place)).OfType<Straggler>().ToList();
        return new(Json.Schema, seconds.Run, clients.Count,
            [
                .. clients.OrderByDescending(static one => one.Ratio ?? 0)
                    .ThenBy(static one => one.Client, StringComparer.Ordinal).Take(Most),
            ]);

        Straggler? Of(GridClient client, int place)
        {
            double?[] own = [.. seconds.Rounds.Select((_, at) => ClientRow.Finite(values[at * seconds.Clients.Count + place]))];
            var last = Array.FindLastIndex(own, static one => one is not null);
            if (last < 0) return null;
            var spread = Spread.Of(own, own.Length, highIsBad: true);
            var (took, median) = (own[last]!.Value, spread.Median!.Value);
            return new(client.Client, client.Task, client.Site, seconds.Rounds[last], took, median,
                spread.N > 1 && median > 0 ? took / median : null, decided.GetValueOrDefault(client.Client));
        }
    }
}

/// <summary>A client beside its own median.</summary>
/// <param name="Client">The client.</param>
/// <param name="Task">Its task.</param>
/// <param name="Site">Its site.</param>
/// <param name="Round">The last round in which it reported.</param>
/// <param name="Seconds">From its assignment to its report in that round.</param>
/// <param name="MedianSeconds">The median of all its rounds.</param>
/// <param name="Ratio">The one over the other; null of a client with one round.</param>
/// <param name="Decided">Rounds that closed with its report.</param>
public sealed record Straggler(
    string Client, string Task, string Site, int Round, double Seconds, double MedianSeconds, double? Ratio, int Decided);
