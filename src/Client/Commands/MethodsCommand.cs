using System.CommandLine;
using System.Text.Json;
using System.Text.Json.Nodes;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Client.Rendering;
using FedRLora.ControlPlane.Views;
using FedRLora.Training.Adapters;

namespace FedRLora.Client.Commands;

/// <summary><c>fedrlora methods</c>: what <c>adapter.method</c> can be.</summary>
internal static class MethodsCommand
{
    public static Command Create()
    {
        var json = SharedOptions.Json();
        var name = new Argument<string?>("name")
        {
            Description = "A method, of which all is said; by default every one is listed", Arity = ArgumentArity.ZeroOrOne,
        };
        var model = new Option<string?>("--model") { Description = "With a method: a model folder or GGUF file, for sizes on it" };
        var command = new Command("methods", "List the named adapter methods that a plan can start from, or tell all of one")
        {
            name, model, json,
        };
        command.SetAction(parsed =>
        {
            var output = parsed.InvocationConfiguration.Output;
            if (parsed.GetValue(name) is { } asked)
            {
                Tell(asked, parsed.GetValue(model), parsed, parsed.GetValue(json));
                return;
            }

            if (parsed.GetValue(model) is not null) throw new BadInputException("--model: sizes are those of one method; name it");
            if (parsed.GetValue(json))
            {
                output.WriteLine(JsonSerializer.Serialize(Methods.Select(
                    static pair => new { Name = pair.Key, pair.Value.Summary, pair.Value.Source, Adapter = Values(pair.Value.Spec) }),
                    Json.Indented));
                return;
            }

            output.Write(Catalogue(Screen.Of(parsed, json: false).Width));
        });
        return command;
    }

    private static void Tell(string name, string? model, ParseResult parsed, bool asJson)
    {
        if (!AdapterCatalog.Methods.TryGetValue(name, out var entry))
        {
            throw new BadInputException($"methods: {BadInputException.Shown(name)} is not known; "
                + $"name one of {string.Join(", ", Methods.Select(static pair => pair.Key))}");
        }

        var (output, spec) = (parsed.InvocationConfiguration.Output, entry.Spec);
        var sizes = model is null ? null : AdapterSizes.On(spec, model);
        if (!asJson)
        {
            output.Write(MethodPage.Of(name, entry, sizes, Screen.Of(parsed, json: false).Width));
            return;
        }

        var tensors = TensorUse.Of(spec, sizes?.Bytes);
        output.WriteLine(JsonSerializer.Serialize(
            new
            {
                Json.Schema, Name = name, entry.Summary, entry.Source, Adapter = Values(spec), sizes?.Layers, sizes?.Elements,
                LeavesTheSite = tensors.Where(static tensor => tensor.LeavesTheSite).Select(static tensor => tensor.Tensor),
                Tensors = tensors, BytesEachWay = TensorUse.ByScope(tensors),
                ExportsExactly = spec.IsStatic,
            },
            Json.Indented));
    }

    // What is computed from the weight begins by no law.
    private static JsonNode Values(AdapterSpec spec)
    {
        var values = JsonSerializer.SerializeToNode(spec, Json.Indented)!;
        foreach (var role in spec.Roles.Where(static role => !role.IsDrawn)) values["tensors"]![role.Name]!.AsObject().Remove("init");
        return values;
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
