using System.Text;

namespace FedRLora.ControlPlane.Views;

/// <summary>Aligned columns for pipes and files; numbers to the right.</summary>
internal static class PlainTable
{
    /// <summary>The table, or where its lines are wider than a terminal, which would break them anywhere: a line for each cell.</summary>
    /// <param name="header">Titles of the columns.</param>
    /// <param name="rows">Cells of each row.</param>
    /// <param name="width">Columns of the terminal; null where nothing breaks lines.</param>
    public static string Of(IReadOnlyList<string> header, IReadOnlyList<string[]> rows, int? width = null)
    {
        var table = Aligned(header, rows);
        return width is { } most && table.Split('\n').Any(line => line.Length > most) ? Listed(header, rows, most) : table;
    }

    // The first cell names the row.
    private static string Listed(IReadOnlyList<string> header, IReadOnlyList<string[]> rows, int width)
    {
        var text = new StringBuilder();
        foreach (var row in rows)
        {
            text.Append(row[0]).Append('\n');
            foreach (var (title, cell) in header.Zip(row).Skip(1).Where(static pair => pair.Second.Length > 0))
                text.Append("  ").Append(Words.Wrapped($"{title} {cell}", width - 4).Replace("\n", "\n    ", StringComparison.Ordinal))
                    .Append('\n');
        }

        return text.ToString();
    }

    private static string Aligned(IReadOnlyList<string> header, IReadOnlyList<string[]> rows)
    {
        var widths = header.Select((title, column) => rows.Select(row => row[column].Length).Append(title.Length).Max()).ToArray();
        var right = header.Select((_, column) => rows.Count > 0 && rows.All(row => IsNumber(row[column]))).ToArray();
        var text = new StringBuilder();
        Append([.. header]);
        Append([.. widths.Select(static width => new string('-', width))]);
        foreach (var row in rows)
            Append(row);
        return text.ToString();

        void Append(string[] cells) =>
            text.Append(string
                .Join("  ", cells.Select((cell, column) => right[column] ? cell.PadLeft(widths[column]) : cell.PadRight(widths[column])))
                .TrimEnd()).Append('\n');
    }

    private static bool IsNumber(string cell) => cell.Length == 0 || cell == Words.None || char.IsAsciiDigit(cell[0])
        || (cell.Length > 1 && cell[0] is '+' or '-' && char.IsAsciiDigit(cell[1]));
}
