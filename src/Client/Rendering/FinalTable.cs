using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using Spectre.Console;

namespace FedRLora.Client.Rendering;

/// <summary>What the run gave a client.</summary>
internal sealed record FinalRow
{
    public required string Client { get; init; }
    public required string Task { get; init; }
    public string? Metric { get; init; }

    /// <summary>The score of the frozen base with a fresh adapter.</summary>
    public double? Base { get; init; }

    /// <summary>The score with the same budget and nothing shared.</summary>
    public double? LocalOnly { get; init; }
    public double? Federated { get; init; }
    public double? Difference { get; init; }
    public double? MajorityShare { get; init; }

    /// <summary>Bytes of its updates in the whole run.</summary>
    public long SentBytes { get; init; }
}

/// <summary>The outcome of a run, client by client, with the mean over clients.</summary>
internal sealed record FinalTable
{
    public required IReadOnlyList<FinalRow> Clients { get; init; }

    /// <summary>The mean of each column in which every scored client has a value; without scores where metrics differ.</summary>
    public required FinalRow Mean { get; init; }

    /// <summary>Whether the difference is to the local-only run; else it is to the base.</summary>
    public required bool ComparesToLocal { get; init; }

    /// <summary>What has to be known of the rows, each in a line.</summary>
    public required IReadOnlyList<string> Notes { get; init; }

    /// <param name="plan">The plan.</param>
    /// <param name="federated">Its rounds, with round 0.</param>
    /// <param name="localOnly">Rounds of the run that shared nothing; null if there was none.</param>
    public static FinalTable Of(FederationPlan plan, IReadOnlyList<RoundSummary> federated, IReadOnlyList<RoundSummary>? localOnly)
    {
        var federatedRows = Rows(federated);
        var localRows = Rows(localOnly ?? []);
        var comparesToLocal = localOnly is { Count: > 0 };
        List<FinalRow> clients = [.. plan.Clients.Select(client =>
        {
            var own = federatedRows[client.Id].ToList();
            var last = own.LastOrDefault(static row => row is { Round: > 0, Score: not null });
            var start = own.FirstOrDefault(static row => row is { Round: 0, Score: not null });
            var alone = localRows[client.Id].LastOrDefault(static row => row is { Round: > 0, Score: not null });
            return new FinalRow
            {
                Client = client.Id,
                Task = client.Task,
                Metric = last?.Metric ?? start?.Metric,
                Base = start?.Score,
                LocalOnly = alone?.Score,
                Federated = last?.Score,
                Difference = last?.Score - (comparesToLocal ? alone?.Score : start?.Score),
                MajorityShare = (last ?? start)?.MajorityShare,
                SentBytes = own.Sum(static row => row.UpdateBytes ?? 0),
            };
        })];

        var aside = federated.SelectMany(round => RoundView.Of(round, plan).Clients).Where(static row => row.StaysAside).Select(static row => row.Client).ToHashSet();
        var scored = clients.Where(static row => row.Metric is not null).ToList();
        if (scored.Any(row => !aside.Contains(row.Client))) scored.RemoveAll(row => aside.Contains(row.Client));
        var comparable = scored.Select(static row => row.Metric).Distinct().Count() == 1;
        return new()
        {
            Clients = clients,
            ComparesToLocal = comparesToLocal,
            Notes = NoteLines.Of(federated.Select(round => RoundView.Of(round, plan))),
            Mean = new()
            {
                Client = "mean",
                Task = "",
                Metric = comparable ? scored[0].Metric : null,
                Base = Mean(static row => row.Base),
                LocalOnly = Mean(static row => row.LocalOnly),
                Federated = Mean(static row => row.Federated),
                Difference = Mean(static row => row.Difference),
                MajorityShare = Mean(static row => row.MajorityShare),
                SentBytes = clients.Count == 0 ? 0 : clients.Sum(static row => row.SentBytes) / clients.Count,
            },
        };

        ILookup<string, ClientRow> Rows(IReadOnlyList<RoundSummary> summaries) =>
            summaries.SelectMany(round => RoundView.Of(round, plan).Clients).ToLookup(static row => row.Client, StringComparer.Ordinal);

        double? Mean(Func<FinalRow, double?> column) => comparable && scored.All(row => column(row) is not null) ? scored.Average(column) : null;
    }

    /// <summary>For example <c>Outcome (accuracy)</c>; without the metric where clients differ, which then have a column for it.</summary>
    public string Title => SharedMetric is { } metric ? $"Outcome ({metric})" : "Outcome";

    /// <summary>Titles of the columns; local-only is there if such a run was made.</summary>
    public IReadOnlyList<string> Header =>
    [
        "client", "task", .. SharedMetric is null ? (string[])["metric"] : [], "base", .. ComparesToLocal ? (string[])["local"] : [],
        "federated", ComparesToLocal ? "vs local" : "vs base", "majority", "sent",
    ];

    /// <summary>How many columns in front are words.</summary>
    public int TextColumns => SharedMetric is null ? 3 : 2;

    /// <summary>A row as text, in the order of <see cref="Header"/>.</summary>
    public string[] Cells(FinalRow row) =>
    [
        row.Client, row.Task, .. SharedMetric is null ? (string[])[row.Metric ?? Words.None] : [], Words.Score(row.Base), .. ComparesToLocal ? (string[])[Words.Score(row.LocalOnly)] : [],
        Words.Score(row.Federated), Words.Difference(row.Difference), Words.Score(row.MajorityShare), Words.Bytes(row.SentBytes),
    ];

    /// <summary>Aligned ASCII columns below the title; as <see cref="PlainTable.Of"/> where they are wider than a terminal.</summary>
    public string ToPlainText(int? width = null) => Title + "\n\n" + PlainTable.Of(Header, [.. AllRows.Select(Cells)], width) + NoteText;

    /// <summary>The lines that stand below the table.</summary>
    public string NoteText => string.Concat(Notes.Select(static note => $"note: {note}\n"));

    /// <summary>For a terminal.</summary>
    public Table ToTable()
    {
        var table = new Table().Border(TableBorder.Horizontal).Title(Title);
        foreach (var (title, index) in Header.Select(static (title, index) => (title, index)))
            table.AddColumn(new TableColumn(title) { Alignment = index < TextColumns ? Justify.Left : Justify.Right, NoWrap = index >= TextColumns, Padding = new Padding(0, 0, 1, 0) });
        foreach (var row in Clients)
            table.AddRow([.. Cells(row).Select(static cell => new Text(cell))]);
        if (Clients.Count > 1)
            table.AddEmptyRow().AddRow([.. Cells(Mean).Select(static cell => new Text(cell, new Style(decoration: Decoration.Bold)))]);
        return table;
    }

    private string? SharedMetric => Mean.Metric;

    private IEnumerable<FinalRow> AllRows => Clients.Count > 1 ? Clients.Append(Mean) : Clients;
}
