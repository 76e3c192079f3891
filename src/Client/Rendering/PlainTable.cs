using System.Text;

namespace FedRLora.Client.Rendering;

/// <summary>Aligned columns for pipes and files; numbers to the right.</summary>
internal static class PlainTable
{
    public static string Of(IReadOnlyList<string> header, IReadOnlyList<string[]> rows)
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
            text.Append(string.Join("  ", cells.Select((cell, column) => right[column] ? cell.PadLeft(widths[column]) : cell.PadRight(widths[column]))).TrimEnd()).Append('\n');
    }

    private static bool IsNumber(string cell) => cell.Length == 0 || cell == Words.None || char.IsAsciiDigit(cell[0]) || (cell.Length > 1 && cell[0] is '+' or '-' && char.IsAsciiDigit(cell[1]));
}
