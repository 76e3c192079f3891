using System.Text.Json;

namespace FedRLora.Generator.Federations;

/// <summary>A line of a task's file, kept as it is.</summary>
/// <param name="Line">The line.</param>
/// <param name="Label">Its label.</param>
internal sealed record LabelledRow(string Line, string Label)
{
    public static IEnumerable<LabelledRow> Read(string path) => File.ReadLines(path).Select((line, index) =>
    {
        using var row = JsonDocument.Parse(line);
        return row.RootElement.TryGetProperty("label", out var label) ? new LabelledRow(line, label.GetString()!)
            : throw new InvalidDataException($"{path}: row {index + 1} has no label");
    });
}
