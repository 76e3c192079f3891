using FedRLora.ControlPlane.Views;
using Spectre.Console;

namespace FedRLora.Client.Rendering;

/// <summary>Tables of outcomes for a terminal; a difference that is noise is grey.</summary>
internal static class TablePictures
{
    /// <summary>The outcome client by client, with the mean below.</summary>
    public static Table ToTable(this FinalTable outcome)
    {
        var table = Empty(outcome.Title, outcome.Header, outcome.TextColumns);
        foreach (var row in outcome.Clients) table.AddRow([.. Texts(row, Decoration.None)]);
        if (outcome.Clients.Count > 1) table.AddEmptyRow().AddRow([.. Texts(outcome.Mean, Decoration.Bold)]);
        return table;

        IEnumerable<Text> Texts(FinalRow row, Decoration decoration) => outcome.Cells(row).Select((cell, column) =>
            new Text(cell, new Style(row.IsNoise && column == outcome.DifferenceColumn ? Color.Grey : null, decoration: decoration)));
    }

    /// <summary>The outcome task by task.</summary>
    public static Table ToTable(this TaskTable outcome)
    {
        var table = Empty(outcome.Title, outcome.Header, outcome.TextColumns);
        foreach (var row in outcome.Rows)
        {
            table.AddRow(outcome.Cells(row).Select((cell, column) =>
                new Text(cell, new Style(outcome.DifferenceAt(row, column) is { IsNoise: true } ? Color.Grey : null))));
        }

        return table;
    }

    private static Table Empty(string title, IReadOnlyList<string> header, int textColumns)
    {
        var table = new Table().Border(TableBorder.Horizontal).Title(title);
        foreach (var (column, index) in header.Select(static (column, index) => (column, index)))
        {
            var isText = index < textColumns;
            table.AddColumn(new TableColumn(column)
            {
                Alignment = isText ? Justify.Left : Justify.Right, NoWrap = !isText, Padding = new Padding(0, 0, 1, 0),
            });
        }

        return table;
    }
}
