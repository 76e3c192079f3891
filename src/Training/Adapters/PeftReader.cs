using System.Text.Json;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Tensors;

namespace FedRLora.Training.Adapters;

/// <summary>An adapter folder of PEFT as ours.</summary>
/// <param name="Spec">One head routed by task; the targets are the modules that the file has, by their full names.</param>
/// <param name="Tensors"><c>{module}.A</c> and <c>{module}.B</c>.</param>
/// <param name="BaseModel">What the folder names as its base model; null where it names none.</param>
public sealed record PeftAdapter(AdapterSpec Spec, AdapterState Tensors, string? BaseModel);

/// <summary>Reads plain LoRA as PEFT saves it: <c>adapter_config.json</c> and <c>adapter_model.safetensors</c>. What would change the numbers and is not implemented is refused by name.</summary>
public static class PeftReader
{
    private const string SuffixA = ".lora_A.weight";
    private const string SuffixB = ".lora_B.weight";

    // Settings that leave plain LoRA at these values and change it at any other.
    private static readonly string[] Refused =
    [
        "use_dora", "rank_pattern", "alpha_pattern", "modules_to_save", "layer_replication", "megatron_config", "trainable_token_indices",
        "lora_bias", "use_qalora", "target_parameters", "alora_invocation_tokens", "use_bdlora", "arrow_config", "monteclora_config", "velora_config",
    ];

    /// <summary>Reads a folder.</summary>
    /// <exception cref="BadInputException">A file is missing or not valid, or the adapter is not plain LoRA.</exception>
    public static PeftAdapter Read(string folder)
    {
        var path = Path.Combine(folder, "adapter_config.json");
        using var document = Parse(path);
        var config = document.RootElement;
        foreach (var key in Refused)
        {
            if (config.TryGetProperty(key, out var value) && !IsOff(value)) throw new BadInputException($"{path}: {key} is {value.GetRawText().ReplaceLineEndings(" ")}; only plain LoRA is implemented");
        }

        Expect(config, "peft_type", "LORA", path);
        if (config.TryGetProperty("bias", out _)) Expect(config, "bias", "none", path);
        var spec = new AdapterSpec
        {
            Method = "lora",
            Rank = Number(config, "r", path) is var rank && rank == Math.Floor(rank) && rank is >= 1 and <= int.MaxValue ? (int)rank : throw new BadInputException($"{path}: r is {rank}; make it a whole number from 1"),
            Alpha = Number(config, "lora_alpha", path),
            Scaling = config.TryGetProperty("use_rslora", out var rslora) && rslora.ValueKind == JsonValueKind.True ? Scaling.AlphaOverSqrtRank : Scaling.AlphaOverRank,
            ScopeB = Scope.Job,
            Dropout = Dropout.None,
        };
        var tensors = Tensors(Path.Combine(folder, "adapter_model.safetensors"), spec.Rank);
        var modules = tensors.Keys.Where(static name => name.EndsWith(".A", StringComparison.Ordinal)).Select(static name => name[..^2]);
        var baseModel = config.TryGetProperty("base_model_name_or_path", out var named) && named.ValueKind == JsonValueKind.String ? named.GetString() : null;
        return new PeftAdapter(spec with { TargetModules = [.. modules] }, tensors, baseModel);
    }

    private static AdapterState Tensors(string path, int rank)
    {
        if (!File.Exists(path)) throw new BadInputException($"{path}: not found; save the adapter with safe_serialization=True");
        AdapterState state;
        using (var stream = File.OpenRead(path)) state = SafetensorsCodec.Read(stream, path);
        var arrays = new Dictionary<string, NamedArray>(StringComparer.Ordinal);
        foreach (var (name, array) in state)
        {
            var (suffix, factor, side) = name.EndsWith(SuffixA, StringComparison.Ordinal) ? (SuffixA, Factor.A, 0) : (SuffixB, Factor.B, 1);
            if (!name.StartsWith(PeftExporter.Prefix, StringComparison.Ordinal) || !name.EndsWith(suffix, StringComparison.Ordinal))
                throw new BadInputException($"{path}: tensor {name} is not lora_A or lora_B of a linear layer; only those are implemented");
            var module = name[PeftExporter.Prefix.Length..^suffix.Length];
            if (array.Shape.Count != 2 || array.Shape[side] != rank)
                throw new BadInputException($"{path}: tensor {name} has shape [{string.Join(", ", array.Shape)}], r is {rank}");
            if (!state.ContainsKey(PeftExporter.Prefix + module + (factor == Factor.A ? SuffixB : SuffixA)))
                throw new BadInputException($"{path}: tensor {name} has no partner");
            arrays.Add(AdapterTensor.NameOf(module, factor), factor == Factor.A ? array : new([1, .. array.Shape], array.Data));
        }

        return arrays.Count > 0 ? new AdapterState(arrays) : throw new BadInputException($"{path}: no tensor");
    }

    private static JsonDocument Parse(string path)
    {
        try
        {
            var document = JsonDocument.Parse(File.ReadAllBytes(path));
            return document.RootElement.ValueKind == JsonValueKind.Object ? document : throw new BadInputException($"{path}: not a JSON object");
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException or JsonException)
        {
            throw new BadInputException($"{path}: cannot be read: {exception.Message.ReplaceLineEndings(" ")}", exception);
        }
    }

    private static double Number(JsonElement config, string key, string path) => config.TryGetProperty(key, out var value) && value.ValueKind == JsonValueKind.Number
        ? value.GetDouble()
        : throw new BadInputException($"{path}: {key} is missing or not a number");

    private static void Expect(JsonElement config, string key, string expected, string path)
    {
        var found = config.TryGetProperty(key, out var value) ? value.GetRawText() : "missing";
        if (found != $"\"{expected}\"") throw new BadInputException($"{path}: {key} is {found}, expected \"{expected}\"");
    }

    private static bool IsOff(JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.Null or JsonValueKind.False => true,
        JsonValueKind.Object => !value.EnumerateObject().Any(),
        JsonValueKind.Array => value.GetArrayLength() == 0,
        _ => false,
    };
}
