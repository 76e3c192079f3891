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
    /// <param name="run">The run.</param>
    /// <param name="columns">The seconds.</param>
    /// <param name="rounds">The rounds.</param>
    internal static StragglersView From(string run, ClientColumns columns, IReadOnlyList<RoundAggregate> rounds)
    {
        var decided = rounds.Select(static round => round.Timing?.DecidedBy).OfType<string>().CountBy(static client => client)
            .ToDictionary(StringComparer.Ordinal);
        var clients = columns.Clients.Select(Of).OfType<Straggler>().ToList();
        return new(Json.Schema, run, clients.Count,
            [
                .. clients.OrderByDescending(static one => one.Ratio ?? 0)
                    .ThenBy(static one => one.Client, StringComparer.Ordinal).Take(Most),
            ]);

        Straggler? Of(GridClient client, int place)
        {
            var own = columns.SecondsOf(place).ToList();
            if (own.Count == 0) return null;
            var median = Spread.Of(own.Select(static one => (double?)one.Seconds), own.Count, highIsBad: true).Median!.Value;
            return new(client.Client, client.Task, client.Site, own[^1].Round, own[^1].Seconds, median,
                own.Count > 1 && median > 0 ? own[^1].Seconds / median : null, decided.GetValueOrDefault(client.Client));
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
