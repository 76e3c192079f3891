using System.Globalization;
using FedRLora.Abstractions;

namespace FedRLora.ControlPlane.Views;

/// <summary>Why parts of runs cannot be compared with the first of them, collected while they are.</summary>
internal sealed class ComparisonNotes(IReadOnlyList<ComparedRun> runs)
{
    private const int Named = 5;

    private readonly Dictionary<(int Run, string Why), List<string>> _why = [];

    /// <summary>Whether a client's scores cannot be compared, which is noted.</summary>
    public bool WhyNot(int run, string client, ClientRow own, ClientRow first)
    {
        var why = own.Metric != first.Metric ? $"{own.Metric} instead of {first.Metric}"
            : own.Rows != first.Rows || own.MajorityShare != first.MajorityShare || TestOf(run, client) != TestOf(0, client)
                ? "other test rows"
            : own.Frame != first.Frame ? "other labels to choose from"
            : null;
        if (why is not null) Add(run, $"no difference, since it has {why}", client);
        return why is not null;
    }

    /// <summary>Rows of a client were not there to be compared one by one.</summary>
    public void Unpaired(int run, string client) =>
        Add(run, "the error is as of runs on other rows, since the rows' scores are not known", client);

    /// <summary>All of them.</summary>
    public IReadOnlyList<string> Lines(IReadOnlyList<LastScores> scores) =>
    [
        .. runs.Where(static run => run.Rounds.Count == 0 || run.Rounds[^1].Manifest.Round < run.Plan.Strategy.Rounds).Select(static run =>
            string.Create(CultureInfo.InvariantCulture, $"{run.Run}: {(run.Rounds.Count == 0 ? 0 : run.Rounds[^1].Manifest.Round)} of "
                + $"{run.Plan.Strategy.Rounds} rounds are committed")),
        .. runs.Skip(1).SelectMany(run => Missing(run, runs[0])),
        .. scores.Skip(1).SelectMany(run => OtherRound(run, scores[0])),
        .. _why.OrderBy(static one => one.Key.Run).Select(one => $"{runs[one.Key.Run].Run}: {one.Key.Why} ({Names(one.Value)})"),
        .. runs.SelectMany(static run => (run.Missing ?? []).Select(line => $"{run.Run}: {line}")),
    ];

    private void Add(int run, string why, string client)
    {
        if (!_why.TryGetValue((run, why), out var clients)) _why[(run, why)] = clients = [];
        clients.Add(client);
    }

    private static IEnumerable<string> Missing(ComparedRun run, ComparedRun first)
    {
        var (own, others) = (Ids(run), Ids(first));
        if (others.Except(own).ToList() is { Count: > 0 } gone) yield return $"{run.Run}: has no {Clients(gone)} of {first.Run}";
        if (own.Except(others).ToList() is { Count: > 0 } more) yield return $"{run.Run}: has {Clients(more)} that {first.Run} has not";

        static List<string> Ids(ComparedRun run) => [.. run.Plan.Clients.Select(static client => client.Id)];

        static string Clients(List<string> clients) => $"client{(clients.Count == 1 ? "" : "s")} {Names(clients)}";
    }

    private static IEnumerable<string> OtherRound(LastScores run, LastScores first)
    {
        var rounds = run.Rows.Where(row => first.Of(row.Key) is { } other && other.Round != row.Value.Round)
            .GroupBy(row => (Own: row.Value.Round, Other: first.Of(row.Key)!.Round), static row => row.Key);
        foreach (var one in rounds)
        {
            yield return string.Create(CultureInfo.InvariantCulture, $"{run.Run.Run}: the last score is of round {one.Key.Own}, "
                + $"that of {first.Run.Run} of round {one.Key.Other} ({Names([.. one])})");
        }
    }

    private string? TestOf(int run, string client) =>
        runs[run].Plan.Clients.FirstOrDefault(one => one.Id == client)?.Data.Test is { } test ? Path.GetFullPath(test, "/") : null;

    private static string Names(List<string> clients) => BadInputException.Shown(string.Join(", ", clients.Take(Named)))
        + (clients.Count > Named ? $" and {clients.Count - Named} more" : "");
}
