using System.CommandLine;
using System.Text.Json;
using FedRLora.Abstractions.Plans;
using FedRLora.Client.Rendering;

namespace FedRLora.Client.Commands;

/// <summary><c>fedrlora methods</c>: what <c>adapter.method</c> can be.</summary>
internal static class MethodsCommand
{
    public static Command Create()
    {
        var json = SharedOptions.Json();
        var command = new Command("methods", "List the named adapter methods that a plan can start from") { json };
        command.SetAction(parsed =>
        {
            var output = parsed.InvocationConfiguration.Output;
            if (parsed.GetValue(json))
            {
                output.WriteLine(JsonSerializer.Serialize(Methods.Select(
                    static pair => new { Name = pair.Key, pair.Value.Summary, pair.Value.Source, Adapter = pair.Value.Spec }),
                    Json.Indented));
                return;
            }

            output.Write(Catalogue(Screen.Of(parsed, json: false).Width));
        });
        return command;
    }

    /// <summary>A table; where it is wider than a terminal, what a method is stands beside its name and the paper below that.</summary>
    /// <param name="width">Columns of the terminal; null where nothing breaks lines.</param>
    internal static string Catalogue(int? width)
    {
        var table = PlainTable.Of(["method", "what it is", "paper"],
            [.. Methods.Select(static pair => (string[])[pair.Key, pair.Value.Summary, pair.Value.Source])]);
        if (width is not { } most || table.Split('\n').All(line => line.Length <= most)) return table;
        var indent = Methods.Max(static pair => pair.Key.Length) + 2;
        return string.Concat(Methods.SelectMany(pair => Beside(pair.Key, pair.Value.Summary).Concat(Beside("", pair.Value.Source)))
            .Select(static line => line + '\n'));

        IEnumerable<string> Beside(string name, string text) => Words.Wrapped(text, most - indent).Split('\n')
            .Select((line, i) => (i == 0 ? name : "").PadRight(indent) + line);
    }

    private static IOrderedEnumerable<KeyValuePair<string, CatalogEntry>> Methods =>
        AdapterCatalog.Methods.OrderBy(static pair => pair.Key, StringComparer.Ordinal);
}
