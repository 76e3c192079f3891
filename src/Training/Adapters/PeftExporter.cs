using System.Text.Json.Nodes;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Models;

namespace FedRLora.Training.Adapters;

/// <summary>
/// A client's adapter as plain LoRA. Heads are merged; the frozen twins of an anchored start become extra rank,
/// A' = [A; A^0] and B' = [B, -B^0]; lora_alpha is s times the exported rank, so that PEFT computes the same s.
/// </summary>
/// <param name="root">What a plan's model path is relative to.</param>
public sealed class PeftExporter(string root) : IAdapterExporter
{
    /// <summary>Prefix of every tensor in PEFT's file.</summary>
    internal const string Prefix = "base_model.model.";

    /// <inheritdoc/>
    public ExportedAdapter Export(FederationPlan plan, ClientSpec client, AdapterState shared, AdapterState? head) =>
        Export(plan, FrozenBase.LinearsOf(Path.GetFullPath(plan.Model.Path, Path.GetFullPath(root))), client, shared, head);

    /// <summary>The same for linears that are known.</summary>
    internal static ExportedAdapter Export(FederationPlan plan, IReadOnlyList<LinearShape> linears, ClientSpec client, AdapterState shared, AdapterState? head)
    {
        var spec = plan.Adapter;
        if (!spec.IsStatic)
            throw new BadInputException($"export: {spec.Method} mixes {spec.Heads} heads by a router that depends on the input, so it has no static LoRA form; use routing mean, sum or byTask");

        var layout = AdapterLayout.For(spec, linears);
        var values = AdapterFactory.Values(plan, layout, client, shared, head);
        var twins = AdapterFactory.Twins(plan, layout, client);
        var taskHead = AdapterFactory.TaskHead(plan, client);
        var tensors = layout.Targets.SelectMany(target => Tensors(spec, target, taskHead, values, twins));
        var rank = twins is null ? spec.Rank : 2 * spec.Rank;
        return new ExportedAdapter(Config(plan, layout, rank), new AdapterState(tensors));
    }

    private static IEnumerable<KeyValuePair<string, NamedArray>> Tensors(AdapterSpec spec, LinearShape target, int taskHead, AdapterState values, AdapterState? twins)
    {
        var (nameA, nameB) = (AdapterTensor.NameOf(target.Module, Factor.A), AdapterTensor.NameOf(target.Module, Factor.B));
        var (a, b) = (values[nameA].Data, Merged(spec, taskHead, values[nameB]));
        if (twins is not null)
        {
            a = [.. a, .. twins[nameA].Data];
            b = SideBySide(b, Merged(spec, taskHead, twins[nameB]), spec.Rank);
        }

        var rank = a.Length / target.InWidth;
        yield return new($"{Prefix}{target.Module}.lora_A.weight", new([rank, target.InWidth], a));
        yield return new($"{Prefix}{target.Module}.lora_B.weight", new([target.OutWidth, rank], b));
    }

    // [N, D_out, R] -> [D_out, R].
    private static float[] Merged(AdapterSpec spec, int taskHead, NamedArray heads)
    {
        var length = heads.Data.Length / spec.Heads;
        if (spec.Heads == 1 || spec.Routing == Routing.ByTask) return heads.Data[(taskHead * length)..((taskHead + 1) * length)];
        var share = spec.Routing == Routing.Mean ? 1.0 / spec.Heads : 1;
        return [.. Enumerable.Range(0, length).Select(i => (float)(share * Enumerable.Range(0, spec.Heads).Sum(head => (double)heads.Data[head * length + i])))];
    }

    // [B, -B^0] row by row.
    private static float[] SideBySide(float[] b, float[] twin, int rank)
    {
        var result = new float[2 * b.Length];
        for (var row = 0; row < b.Length / rank; row++)
        {
            for (var i = 0; i < rank; i++)
            {
                result[2 * row * rank + i] = b[row * rank + i];
                result[(2 * row + 1) * rank + i] = -twin[row * rank + i];
            }
        }

        return result;
    }

    private static string Config(FederationPlan plan, AdapterLayout layout, int rank)
    {
        var targets = plan.Adapter.TargetModules.Count > 0 ? plan.Adapter.TargetModules : layout.Targets.Select(static target => AdapterLayout.LastPart(target.Module));
        var alpha = plan.Adapter.ScalingFactor * rank;
        return new JsonObject
        {
            ["peft_type"] = "LORA",
            ["task_type"] = "CAUSAL_LM",
            ["base_model_name_or_path"] = plan.Model.Path,
            ["inference_mode"] = true,
            ["r"] = rank,
            ["lora_alpha"] = Math.Round(alpha) == alpha ? JsonValue.Create((long)alpha) : JsonValue.Create(alpha),
            ["lora_dropout"] = 0.0,
            ["target_modules"] = new JsonArray([.. targets.Distinct(StringComparer.Ordinal).Order(StringComparer.Ordinal).Select(static target => JsonValue.Create(target))]),
            ["bias"] = "none",
            ["fan_in_fan_out"] = false,
            ["use_rslora"] = false,
            ["use_dora"] = false,
            ["init_lora_weights"] = true,
            ["modules_to_save"] = null,
            ["rank_pattern"] = new JsonObject(),
            ["alpha_pattern"] = new JsonObject(),
            ["layers_to_transform"] = null,
            ["layers_pattern"] = null,
            ["revision"] = null,
        }.ToJsonString(new() { WriteIndented = true });
    }
}
