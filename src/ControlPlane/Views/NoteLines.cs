using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;

namespace FedRLora.ControlPlane.Views;

/// <summary>What has to be known of the rows behind losses and scores: a line for each thing and task, not for each client.</summary>
internal static class NoteLines
{
    private const int Named = 3, Most = 20;

    /// <summary>The lines of one round.</summary>
    public static IReadOnlyList<string> Of(RoundView round) =>
        Shortened(round.Clients.GroupBy(static client => client.Task)
            .SelectMany(static task => Counted(task.Key, [.. task]).Concat(Frames(task.Key, [.. task]))));

    /// <summary>Those of a run, each once, with the last counts.</summary>
    public static IReadOnlyList<string> Of(OutcomeSoFar run) =>
        Shortened(run.Clients.Select(static client => client.Noted).OfType<ClientRow>().GroupBy(static client => client.Task)
            .SelectMany(static task =>
                Constant(task.Key, [.. task]).Concat(Counted(task.Key, [.. task])).Concat(Frames(task.Key, [.. task]))));

    /// <summary>What has to be known of a client after one more row: its last scored one, with notes and frame.</summary>
    public static ClientRow Noted(ClientRow? known, ClientRow row)
    {
        if (known is null) return row;
        return row.Score is null ? known : row with
        {
            Frame = row.Frame ?? known.Frame,
            Notes = row.Notes.Count > 0 ? row.Notes : known.Notes,
        };
    }

    /// <summary>Clients whose last score is older than that of others: the table shows it beside theirs.</summary>
    public static IReadOnlyList<string> Stale(OutcomeSoFar run)
    {
        var last = run.Clients.Select(static client => client.Scored).OfType<ClientRow>().ToList();
        var newest = last.Select(static row => row.Round).DefaultIfEmpty().Max();
        return Shortened(last.Where(row => row.Round < newest)
            .GroupBy(static row => row.Round).OrderBy(static group => group.Key)
            .Select(group => FormattableString.Invariant($"the last score is of round {group.Key}, of others of round {newest}")
                + Who(last.Count, [.. group.Select(static row => row.Client)])));
    }

    // A federation of many tasks, or of many labels, would bury what stands above.
    private static List<string> Shortened(IEnumerable<string> lines)
    {
        List<string> all = [.. lines];
        return all.Count <= Most
            ? all
            : [.. all.Take(Most - 1), $"{all.Count - Most + 1} more like these: metrics.jsonl says it of each client"];
    }

    private static IEnumerable<string> Constant(string task, IReadOnlyList<ClientRow> clients) => clients
        .Where(static client => client is { Round: > 0, Always: not null })
        .GroupBy(static client => client.Always!, StringComparer.Ordinal)
        .Select(label => $"{task}: always answers \"{BadInputException.Shown(label.Key)}\""
            + Who(clients.Count, [.. label.Select(static client => client.Client)]));

    private static IEnumerable<string> Counted(string task, IReadOnlyList<ClientRow> clients) => clients
        .SelectMany(static client => client.Notes.Select(note => (client.Client, Note: note)))
        .GroupBy(static pair => (pair.Note.Kind, pair.Note.Training))
        .OrderBy(static group => group.Key)
        .Select(group => $"{task}: {group.Select(static pair => pair.Note).Aggregate(static (sum, next) => sum.And(next)).Text}"
            + Who(clients.Count, [.. group.Select(static pair => pair.Client)]));

    private static IEnumerable<string> Frames(string task, IReadOnlyList<ClientRow> clients)
    {
        var frames = clients.Where(static client => client.Frame is not null).GroupBy(static client => client.Frame!).ToList();
        if (frames.Count < 2) yield break;
        var few = frames.MinBy(static frame => frame.Count())!;
        yield return $"{task}: its clients choose among different labels"
            + $"{Who(clients.Count, [.. few.Select(static client => client.Client)])}, "
            + "so their scores cannot be compared; name the labels in the plan (tasks)";
    }

    private static string Who(int all, IReadOnlyList<string> clients) => clients.Count switch
    {
        _ when clients.Count == all => "",
        <= Named => $" ({string.Join(", ", clients)})",
        _ => $" ({Words.Count(clients.Count, "client")})",
    };
}
