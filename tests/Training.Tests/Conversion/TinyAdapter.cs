using System.Text.Json.Nodes;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training.Tests.Conversion;

/// <summary>Adapter folders in PEFT's layout with drawn factors.</summary>
internal static class TinyAdapter
{
    /// <summary>Writes one on every linear layer of a model folder.</summary>
    /// <param name="folder">Where.</param>
    /// <param name="model">The model folder.</param>
    /// <param name="change">Changes the configuration.</param>
    /// <param name="rank">Of a module.</param>
    /// <param name="embedding">Whether the embedding is adapted too.</param>
    public static string Write(
        string folder, string model, Action<JsonObject>? change = null, Func<string, int>? rank = null, bool embedding = true)
    {
        Directory.CreateDirectory(folder);
        using var generator = new Generator(Seed.For(1, 0, "", "tiny-adapter"), CPU);
        var layers = FrozenBase.LayersOf(model).Where(layer => layer.Kind is not LayerKind.LmHead
            && (embedding || layer.Kind != LayerKind.Embedding)).ToList();
        var arrays = new Dictionary<string, SafetensorsArray>(StringComparer.Ordinal);
        foreach (var layer in layers)
        {
            var (r, isEmbedding) = (rank?.Invoke(layer.Module) ?? 4, layer.Kind == LayerKind.Embedding);
            var (a, b) = isEmbedding ? ("lora_embedding_A", "lora_embedding_B") : ("lora_A.weight", "lora_B.weight");
            arrays[$"base_model.model.{layer.Module}.{a}"] = Drawn(r, layer.InWidth);
            arrays[$"base_model.model.{layer.Module}.{b}"] = Drawn(layer.OutWidth, r);
        }

        using (var stream = File.Create(Path.Combine(folder, "adapter_model.safetensors")))
            SafetensorsWriter.Write(arrays, new Dictionary<string, string> { ["format"] = "pt" }, stream);
        var config = new JsonObject
        {
            ["peft_type"] = "LORA",
            ["r"] = 4,
            ["lora_alpha"] = 6,
            ["target_modules"] = new JsonArray([.. layers.Select(static layer => layer.Module.Split('.')[^1]).Distinct()
                .Select(static name => JsonValue.Create(name))]),
            ["fan_in_fan_out"] = layers.Exists(static layer => layer.Kind == LayerKind.Conv1D),
        };
        change?.Invoke(config);
        File.WriteAllText(Path.Combine(folder, "adapter_config.json"), config.ToJsonString());
        return folder;

        SafetensorsArray Drawn(long rows, long columns)
        {
            using var drawn = randn([rows, columns], ScalarType.Float32, CPU, generator: generator);
            return SafetensorsArray.Of([rows, columns], [.. drawn.data<float>().Select(static value => 0.3f * value)]);
        }
    }
}
