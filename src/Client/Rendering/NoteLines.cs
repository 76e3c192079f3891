using FedRLora.Abstractions.Messages;

namespace FedRLora.Client.Rendering;

/// <summary>What has to be known of the rows behind losses and scores: a line for each thing and task, not for each client.</summary>
internal static class NoteLines
{
    private const int Named = 3;

    /// <summary>The lines of one round.</summary>
    public static IReadOnlyList<string> Of(RoundView round) =>
        [.. round.Clients.GroupBy(static client => client.Task).SelectMany(static task => Counted(task.Key, [.. task]).Concat(Frames(task.Key, [.. task])))];

    /// <summary>Those of a run, each once, with the last counts.</summary>
    public static IReadOnlyList<string> Of(IEnumerable<RoundView> rounds)
    {
        var last = new Dictionary<string, ClientRow>(StringComparer.Ordinal);
        foreach (var client in rounds.SelectMany(static round => round.Clients))
        {
            var known = last.GetValueOrDefault(client.Client) ?? client;
            if (client.Score is null && known != client) continue;
            last[client.Client] = client with { Frame = client.Frame ?? known.Frame, Notes = client.Notes.Count > 0 ? client.Notes : known.Notes };
        }

        return [.. last.Values.GroupBy(static client => client.Task)
            .SelectMany(static task => Constant(task.Key, [.. task]).Concat(Counted(task.Key, [.. task])).Concat(Frames(task.Key, [.. task])))];
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
        yield return $"{task}: its clients choose among different labels{Who(clients.Count, [.. few.Select(static client => client.Client)])}, "
            + "so their scores cannot be compared; name the labels in the plan (tasks)";
    }

    private static string Who(int all, IReadOnlyList<string> clients) => clients.Count switch
    {
        _ when clients.Count == all => "",
        <= Named => $" ({string.Join(", ", clients)})",
        _ => $" ({Words.Count(clients.Count, "client")})",
    };
}
