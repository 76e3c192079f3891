using System.Globalization;
using System.Text.Json.Nodes;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Ports;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Models;

namespace FedRLora.Training.Adapters.Peft;

/// <summary>
/// What vLLM loads: lora_A and lora_B on linear layers, one rank that it accepts, one scaling. It reads r, lora_alpha and use_rslora
/// alone, so ranks and scalings of single layers are written into the tensors: B by the ratio of the scalings, A and B by zeros.
/// </summary>
internal static class VllmForm
{
    // vllm/config: possible values of max_lora_rank.
    private static readonly int[] Ranks = [8, 16, 32, 64, 128, 256, 320, 512];

    /// <summary>Turns an adapter in PEFT's layout into vLLM's.</summary>
    /// <exception cref="BadInputException">It has no such form; the reason and what to do are said.</exception>
    public static ExportedAdapter Of(ExportedAdapter adapter, AdapterLayout layout, ExportForm form)
    {
        if (layout.Spec.Decomposed)
            throw new BadInputException(
                "export: vLLM loads no DoRA (use_dora); merge the adapter into the model with fedrlora merge and load that");
        if (layout.Targets.FirstOrDefault(static target => target.Layer.Kind == LayerKind.Embedding) is { } embedding)
            throw new BadInputException("export: vLLM takes lora_A and lora_B on linear layers, "
                + $"this adapter is on the embedding {embedding.Module}; merge it with fedrlora merge and load that");
        var largest = layout.Targets.Max(target => RankOf(adapter, target));
        var rank = Ranks.FirstOrDefault(accepted => accepted >= largest);
        if (rank == 0)
            throw new BadInputException(
                $"export: rank {largest} is above {Ranks[^1]}, the largest that vLLM accepts; train with a lower rank");
        if (!form.PadRank && layout.Targets.FirstOrDefault(target => RankOf(adapter, target) != rank) is { } other)
            throw new BadInputException($"export: {other.Module} has rank {RankOf(adapter, other)}, vLLM accepts one of "
                + $"{string.Join(", ", Ranks)}, the same for all layers; ask for padding to {rank} with zeros (--pad-rank)");

        var scaling = layout.Targets[0].Scaling;
        var config = JsonNode.Parse(adapter.ConfigJson)!.AsObject();
        config["r"] = rank;
        config["lora_alpha"] = JsonNode.Parse((scaling * rank).ToString("R", CultureInfo.InvariantCulture));
        config["use_rslora"] = false;
        config["rank_pattern"] = new JsonObject();
        config["alpha_pattern"] = new JsonObject();
        return new(config.ToJsonString(new() { WriteIndented = true }),
            new AdapterState(layout.Targets.SelectMany(target => Tensors(adapter, target, rank, (float)(target.Scaling / scaling)))));
    }

    private static int RankOf(ExportedAdapter adapter, AdapterTarget target) =>
        (int)adapter.Tensors[PeftNames.Of(target.Layer, Roles.A)].Shape[0];

    private static IEnumerable<KeyValuePair<string, NamedArray>> Tensors(
        ExportedAdapter adapter, AdapterTarget target, int rank, float ratio)
    {
        var (nameA, nameB) = (PeftNames.Of(target.Layer, Roles.A), PeftNames.Of(target.Layer, Roles.B));
        var (own, inWidth, outWidth) = (RankOf(adapter, target), target.Layer.InWidth, target.Layer.OutWidth);
        var a = new float[(long)rank * inWidth];
        adapter.Tensors[nameA].Data.CopyTo(a, 0);
        var (from, b) = (adapter.Tensors[nameB].Data, new float[(long)outWidth * rank]);
        for (var row = 0; row < outWidth; row++)
        {
            for (var i = 0; i < own; i++) b[row * rank + i] = from[row * own + i] * ratio;
        }

        yield return new(nameA, new([rank, inWidth], a));
        yield return new(nameB, new([outWidth, rank], b));
    }
}
