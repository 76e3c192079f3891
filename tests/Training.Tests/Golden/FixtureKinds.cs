using System.Text.Json;
using System.Text.RegularExpressions;
using FedRLora.Training.Gguf;
using static TorchSharp.torch;

using Found = (string Kind, string Part, System.Collections.Generic.IEnumerable<string> Files);

namespace FedRLora.Training.Tests.Golden;

/// <summary>
/// What a folder of reference numbers is, by the files in it and what they hold. A folder's own name says nothing, except in
/// <c>reports</c>, whose README names its situations.
/// </summary>
internal static partial class FixtureKinds
{
    private delegate IEnumerable<Found> Recognizer(FixtureFolder folder);

    // Of what comes from a reference's code.
    private static readonly string[] Numbers = ["expected.json", "tensors.safetensors"];

    private static readonly Recognizer[] Recognizers =
    [
        Models, Adapters, Tokenizers, Combinations, Aggregations, Layers, RealModels, Methods, Privacy, Gguf, Quantized, Situations,
        Announced,
    ];

    /// <summary>
    /// The sets of numbers in a folder, each with the files that are its own; files without a kind belong to sets in the folders below.
    /// </summary>
    public static IEnumerable<Found> Of(FixtureFolder folder) => Recognizers.SelectMany(recognize => recognize(folder));

    /// <summary>Names of the folders in a folder that belong to one of its sets.</summary>
    public static HashSet<string> OwnedBy(FixtureFolder folder, IReadOnlyList<FixtureFolder> below)
    {
        var tokenizers = folder.Has("tokenizers.jsonl");
        var owned = below.Where(child => IsSituation(folder, child.Name) || (tokenizers && child.Files.All(IsTokenizer)));
        return [.. owned.Select(static child => child.Name)];
    }

    private static IEnumerable<Found> Models(FixtureFolder folder)
    {
        string[] files = ["model.safetensors", "io.safetensors", "expected.json"];
        if (folder.Has(files) && Text(folder.Object("config.json"), "model_type") is { } type)
            yield return ($"model/{type}", "", [.. files, "config.json", "generation_config.json"]);
    }

    private static IEnumerable<Found> Adapters(FixtureFolder folder)
    {
        if (!folder.Has("adapter_model.safetensors") || folder.Object("adapter_config.json") is not { } config) yield break;
        var method = (Text(config, "peft_type") ?? "").ToLowerInvariant();
        if (IsOn(config, "use_dora")) method += "+dora";
        if (Text(config, "bias") is not (null or "none")) method += "+bias";
        var expected = folder.Object("expected.json");
        string[] files = ["adapter_config.json", "adapter_model.safetensors", "io.safetensors", "expected.json"];
        if (Text(expected, "want") is not null) yield return ($"foreign-adapter/{Text(expected, "option") ?? "loads"}", "", files);
        else if (EndsWith(Text(expected, "base") ?? "", ".gguf")) yield return ($"gguf/adapter/{method}", "", files);
        else if (Text(folder.Parent?.Object("config.json"), "model_type") is { } type) yield return ($"adapter/{type}/{method}", "", files);
    }

    private static IEnumerable<Found> Tokenizers(FixtureFolder folder)
    {
        if (Has(folder.FirstLine("cases.jsonl"), "text", "ids", "ids_no_special")) yield return ("tokenizer", "", ["cases.jsonl"]);
        if (Has(folder.FirstLine("chat_cases.jsonl"), "messages", "text")) yield return ("chat", "", ["chat_cases.jsonl"]);
    }

    private static IEnumerable<Found> Combinations(FixtureFolder folder)
    {
        if (Has(folder.Object("expected.json"), "adapters", "combinations")) yield return ("combination", "", Numbers);
    }

    private static IEnumerable<Found> Aggregations(FixtureFolder folder)
    {
        if (folder.Object("expected.json") is not { } expected || !Has(expected, "examples", "results")) yield break;
        foreach (var result in expected.GetProperty("results").EnumerateArray().Select(static result => result.GetString()!))
            yield return ($"aggregation/{result}", result, Numbers);
    }

    // One layer in a file of the name under which expected.json describes it.
    private static IEnumerable<Found> Layers(FixtureFolder folder)
    {
        if (folder.Object("expected.json") is not { } expected) yield break;
        foreach (var layer in expected.EnumerateObject().Where(static layer => Has(layer.Value, "r", "lora_alpha")))
        {
            if (!folder.Has(layer.Name + ".safetensors")) continue;
            var tensors = folder.Tensors(layer.Name + ".safetensors");
            var kind = tensors.Contains("grad.lora_route.weight") ? "routed"
                : tensors.Contains("weight_before") ? "drawn-again"
                : tensors.Contains("grad.lora_lambdas") ? "lambdas"
                : "other";
            yield return ($"layer/{kind}", layer.Name, [layer.Name + ".safetensors", "expected.json"]);
        }
    }

    private static IEnumerable<Found> RealModels(FixtureFolder folder)
    {
        if (Has(folder.Object("expected.json"), "model", "texts")) yield return ("real-model", "", ["expected.json", "io.safetensors"]);
        foreach (var file in folder.Files.Where(static file => EndsWith(file, ".json")))
        {
            if (Has(folder.Object(file), "file", "tensor_types", "texts")) yield return ("gguf/real-model", file, [file]);
        }
    }

    // A method is the code that was run; where that gave several named results, each of them.
    private static IEnumerable<Found> Methods(FixtureFolder folder)
    {
        if (!folder.Has(Numbers) || folder.Object("expected.json") is not { } expected) yield break;
        if (!Has(expected, "source", "config", "fp32_vs_fp64_max_abs_difference")) yield break;
        if (MethodOf(expected.GetProperty("source")) is not { } method) yield break;
        var kind = "method/" + method;
        if (kind == "method/peft/lora") kind += Has(expected, "trainable") ? Switches(expected.GetProperty("config")) : StartOf(folder);
        if (Text(expected.GetProperty("config"), "shared_mode") is "addition" and var mode) kind += "+" + mode;
        var tensors = folder.Tensors("tensors.safetensors");
        var gaps = expected.GetProperty("fp32_vs_fp64_max_abs_difference");
        var hasResults = !Has(expected, "trainable") && gaps.ValueKind == JsonValueKind.Object;
        List<string> results = hasResults ? [.. gaps.EnumerateObject().Select(static gap => gap.Name)] : [];
        if (results.Count == 0 || !results.All(result => tensors.Any(tensor => tensor.StartsWith(result + ".", StringComparison.Ordinal))))
        {
            yield return (kind, "", Numbers);
            yield break;
        }

        foreach (var result in results) yield return ($"{kind}/{result}", result, Numbers);
    }

    // A start says nothing of its name: those that decompose the weight are told by their factors.
    private static string StartOf(FixtureFolder folder)
    {
        using var scope = NewDisposeScope();
        if (folder.Values("tensors.safetensors", "lora_A") is not { } a || folder.Values("tensors.safetensors", "lora_B") is not { } b
            || folder.Tensors("tensors.safetensors").Contains("calibration_inputs")) return "-start";
        Tensor Gram(Tensor rows) => rows.mm(rows.t());
        bool Close(Tensor one, Tensor other) => one.allclose(other, 1e-4, 1e-5);
        var (down, up) = (Gram(a), Gram(b.t()));
        if (Close(up, eye(up.shape[0])) && Close(a, a.triu()) && !Close(a, zeros_like(a))) return "-start/olora";
        return Close(down, up) && Close(down, down.diagonal().diag()) ? "-start/pissa" : "-start";
    }

    private static IEnumerable<Found> Privacy(FixtureFolder folder)
    {
        if (folder.Object("expected.json") is not { } expected || !Has(expected, "sources")) yield break;
        var kind = Has(expected, "rdpPoissonGaussian") ? "privacy" : Has(expected, "shamirGf2Pow128") ? "secure-aggregation" : null;
        if (kind is null) yield break;
        var parts = expected.EnumerateObject().Select(static entry => entry.Name);
        foreach (var part in parts.Where(static part => part is not ("sources" or "environment")))
            yield return ($"{kind}/{part}", part, ["expected.json"]);
    }

    private static IEnumerable<Found> Gguf(FixtureFolder folder)
    {
        foreach (var file in folder.Files.Where(static file => EndsWith(file, ".gguf")))
        {
            var name = file[..^".gguf".Length];
            string[] files = [file, $"{name}.config.json", $"{name}.expected.json", $"{name}.expected.safetensors"];
            if (folder.Has(files)) yield return ($"gguf/model/{Text(folder.Object(files[1]), "model_type")}", name, files);
        }

        if (Has(folder.FirstLine("bad.jsonl"), "file", "wrong"))
        {
            var rows = folder.Lines("bad.jsonl").Select(static line => JsonDocument.Parse(line).RootElement);
            yield return ("gguf/bad", "", [.. rows.Select(static row => row.GetProperty("file").GetString()!), "bad.jsonl"]);
        }

        if (Has(folder.FirstLine("tokenizers.jsonl"), "tokenizer", "text", "ids"))
            yield return ("gguf/tokenizer", "", ["tokenizers.jsonl", "tokenizers.json"]);
        foreach (var file in folder.Files)
        {
            var tensors = folder.Tensors(file);
            var (source, raw) = (tensors.Contains("source"), tensors.Contains("raw"));
            var kind = source && raw ? "gguf/quantize"
                : tensors.Contains("values") && (raw || tensors.Contains("raw_ggml_c")) ? "gguf/blocks"
                : null;
            if (kind is not null) yield return ($"{kind}/{GgmlTypeIn(file)}", file, [file, "blocks.json", "quantize.json"]);
        }
    }

    // Which blocks they are is said by a file's name alone: Q4_K-nonfinite.safetensors.
    private static string GgmlTypeIn(string file)
    {
        var words = file.Split('-', '.');
        return (words.FirstOrDefault(static word => Enum.GetNames<GgmlType>().Contains(word)) ?? words[0]).ToLowerInvariant();
    }

    private static IEnumerable<Found> Quantized(FixtureFolder folder)
    {
        foreach (var file in folder.Files)
        {
            var tensors = folder.Tensors(file);
            if (tensors.Contains("nf4_code")) yield return ("nf4/codes", file, [file, "nf4.json"]);
            else if (tensors.Contains("source") && tensors.Contains("nf4.packed")) yield return ("nf4/values", file, [file]);
            else if (tensors.Contains("weight.quant_map"))
                yield return ("nf4/layer", file, [file, Path.ChangeExtension(file, ".io.safetensors")]);
        }
    }

    // A folder of a situation holds what its command needs, of any kind, in folders too.
    private static IEnumerable<Found> Situations(FixtureFolder folder)
    {
        foreach (var name in folder.Lines("README.md").Select(NameInRow).OfType<string>().Distinct(StringComparer.Ordinal))
        {
            var found = folder.Folders.Any(child => child.Name == name);
            yield return ($"situation/{name}{(found ? "" : " (no such folder)")}", name, []);
        }

        // The rows that adapters in the folders below are scored on.
        if (folder.Has("rows.jsonl") && folder.Folders.Any(static child => Text(child.Object("expected.json"), "want") is not null))
            yield return ("", "", ["rows.jsonl"]);
    }

    // A document whose tables number situations; it has no files.
    private static IEnumerable<Found> Announced(FixtureFolder folder)
    {
        foreach (var file in folder.Files.Where(static file => EndsWith(file, ".md")))
        {
            foreach (var number in folder.Lines(file).Select(static line => NumberedRow().Match(line)).Where(static match => match.Success))
                yield return ($"announced/{number.Groups[1].Value}", $"{file}, row {number.Groups[1].Value}", []);
        }
    }

    // repository/file, or repository/method where the file lies in a folder of the method's name.
    private static string? MethodOf(JsonElement source)
    {
        var files = Has(source, "files") ? source.GetProperty("files") : default;
        var first = Text(source, "file") ?? Text(source, "files");
        if (files.ValueKind == JsonValueKind.Array) first ??= files.EnumerateArray().FirstOrDefault().ToString();
        var file = first?.Split(' ', ',')[0].Split('{')[0].TrimEnd('/');
        if (Text(source, "repository") is not { } named || string.IsNullOrEmpty(file)) return null;
        var repository = OwnerAndName().Match(named) is { Success: true } match ? match.Groups[1].Value : "unknown";
        var parts = file.Split('/');
        var tuner = Array.IndexOf(parts, "tuners");
        var name = tuner >= 0 ? parts[tuner + 1] : Path.GetFileNameWithoutExtension(parts[^1]);
        return $"{repository}/{name}".ToLowerInvariant();
    }

    private static string Switches(JsonElement config) => string.Concat(config.EnumerateObject()
        .Where(static entry => entry.Value.ValueKind == JsonValueKind.True)
        .Where(static entry => entry.Name.StartsWith("use_", StringComparison.Ordinal) || entry.Name is "lora_bias" or "fan_in_fan_out")
        .Select(static entry => "+" + entry.Name));

    private static bool IsSituation(FixtureFolder folder, string name) => folder.Lines("README.md").Any(line => NameInRow(line) == name);

    private static string? NameInRow(string line) => SituationRow().Match(line) is { Success: true } match ? match.Groups[1].Value : null;

    private static bool IsTokenizer(string file) => EndsWith(file, ".tokenizer.json") || EndsWith(file, ".model");

    private static bool EndsWith(string file, string suffix) => file.EndsWith(suffix, StringComparison.Ordinal);

    private static bool IsOn(JsonElement config, string key) =>
        config.TryGetProperty(key, out var value) && value.ValueKind == JsonValueKind.True;

    private static bool Has(JsonElement? value, params ReadOnlySpan<string> keys)
    {
        if (value is not { ValueKind: JsonValueKind.Object } found) return false;
        foreach (var key in keys)
        {
            if (!found.TryGetProperty(key, out _)) return false;
        }

        return true;
    }

    private static string? Text(JsonElement? value, string key) =>
        Has(value, key) && value!.Value.GetProperty(key) is { ValueKind: JsonValueKind.String } text ? text.GetString() : null;

    [GeneratedRegex(@"^\| (\d+-[a-z0-9-]+) \|")]
    private static partial Regex SituationRow();

    [GeneratedRegex(@"^\| (\d+) \|")]
    private static partial Regex NumberedRow();

    [GeneratedRegex(@"^[A-Za-z0-9-]+/([A-Za-z0-9_.-]+)")]
    private static partial Regex OwnerAndName();
}
