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
            var methods = AdapterCatalog.Methods.OrderBy(static pair => pair.Key, StringComparer.Ordinal);
            if (parsed.GetValue(json))
            {
                output.WriteLine(JsonSerializer.Serialize(methods.Select(
                    static pair => new { Name = pair.Key, pair.Value.Summary, pair.Value.Source, Adapter = pair.Value.Spec }),
                    Json.Indented));
                return;
            }

            output.Write(PlainTable.Of(["method", "what it is", "paper"],
                [.. methods.Select(static pair => (string[])[pair.Key, pair.Value.Summary, pair.Value.Source])],
                Screen.Of(parsed, json: false).Width));
        });
        return command;
    }
}
