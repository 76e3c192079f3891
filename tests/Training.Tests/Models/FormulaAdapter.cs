using System.Globalization;
using System.Text.Json;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Adapters.Peft;
using FedRLora.Training.Models;

namespace FedRLora.Training.Tests.Models;

/// <summary>
/// A LoRA adapter whose numbers are a formula, since stored they would be too many: a linear congruential generator for each tensor,
/// seeded by layer, projection and factor, as the README of the references says.
/// </summary>
internal static class FormulaAdapter
{
    private static readonly string[] Projections = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];

    /// <summary>Writes it as PEFT would.</summary>
    /// <param name="reference">The folder with its configuration.</param>
    /// <param name="target">Where it goes.</param>
    /// <param name="model">Whose layers it is on.</param>
    /// <param name="trainsFromZero">B is zero, as at the beginning of a run.</param>
    public static string Write(string reference, string target, CausalLanguageModel model, bool trainsFromZero)
    {
        var config = File.ReadAllText(Path.Combine(reference, "adapter_config.json"));
        var rank = JsonDocument.Parse(config).RootElement.GetProperty("r").GetInt32();
        File.WriteAllText(Path.Combine(target, "adapter_config.json"), config);
        using var stream = File.Create(Path.Combine(target, PeftAdapter.TensorFile));
        SafetensorsCodec.Write(
            new(model.Linears.SelectMany(layer => Tensors(layer, rank, trainsFromZero))),
            new Dictionary<string, string> { ["format"] = "pt" }, stream);
        return target;
    }

    private static IEnumerable<KeyValuePair<string, NamedArray>> Tensors(LinearShape layer, int rank, bool trainsFromZero)
    {
        var words = layer.Module.Split('.'); // model.layers.N.self_attn.q_proj
        var seed = 100 * uint.Parse(words[2], CultureInfo.InvariantCulture) + 10 * (uint)Array.IndexOf(Projections, words[^1]);
        KeyValuePair<string, NamedArray> Named(string factor, float[] values, params long[] shape) =>
            KeyValuePair.Create($"base_model.model.{layer.Module}.lora_{factor}.weight", new NamedArray(shape, values));
        yield return Named("A", Drawn(seed + 1, rank * layer.InWidth), rank, layer.InWidth);
        yield return Named("B", trainsFromZero ? new float[layer.OutWidth * rank] : Drawn(seed + 2, layer.OutWidth * rank),
            layer.OutWidth, rank);
    }

    private static float[] Drawn(uint seed, int count)
    {
        var (x, values) = (unchecked(seed * 2654435761u), new float[count]);
        for (var i = 0; i < count; i++)
        {
            x = unchecked(1664525u * x + 1013904223u);
            values[i] = ((int)(x >> 16) - 32768) / 1048576f;
        }

        return values;
    }
}
