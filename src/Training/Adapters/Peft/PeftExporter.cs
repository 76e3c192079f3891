using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training.Adapters.Peft;

/// <summary>
/// A client's adapter as plain LoRA, or DoRA where its weight is decomposed. Heads are merged; the frozen twins of an anchored start
/// become extra rank, A' = [A; A^0] and B' = [B, -B^0], with lora_alpha s times the exported rank, so that PEFT computes the same s.
/// </summary>
/// <param name="root">What a plan's paths are relative to.</param>
public sealed class PeftExporter(string root) : IAdapterExporter
{
    private readonly AdapterSource _source = new(root);

    /// <inheritdoc/>
    public ExportedAdapter Export(FederationPlan plan, ClientSpec client, AdapterState shared, AdapterState? head, ExportForm? form = null)
    {
        var folder = Path.GetFullPath(plan.Model.Path, Path.GetFullPath(root));
        form = (form ?? new()) with { BaseModel = form?.BaseModel ?? folder };
        using var model = new LazyModel(folder);
        return Export(plan, adapter => _source.LayoutOf(plan with { Adapter = adapter }, FrozenBase.LayersOf(folder), model.Load), _source.Given(plan), client, shared, head, form);
    }

    /// <inheritdoc/>
    public string? DigestOfGiven(FederationPlan plan) => _source.Given(plan)?.Sha256;

    /// <summary>The same where the layout is known.</summary>
    internal static ExportedAdapter Export(
        FederationPlan plan, Func<AdapterSpec, AdapterLayout> layoutOf, PeftAdapter? given, ClientSpec client, AdapterState shared, AdapterState? head, ExportForm? form = null)
    {
        form ??= new();
        if (!plan.Adapter.IsStatic)
        {
            if (!form.Nearest)
                throw new BadInputException($"export: {plan.Adapter.Method} mixes {plan.Adapter.Heads} heads by a router that depends on the input, so it has no static LoRA form; train with routing mean, sum or byTask, or ask for the nearest static form, which weighs the heads equally (--nearest)");
            plan = plan with { Adapter = plan.Adapter with { Routing = new Routing.Mean() } };
            (shared, head) = (WithoutRouters(shared), head is null ? null : WithoutRouters(head));
        }

        var layout = layoutOf(plan.Adapter);
        var values = AdapterFactory.Values(plan, layout, client, shared, head);
        var twins = AdapterFactory.Twins(plan, layout, client);
        var tensors = new AdapterState(layout.Targets.SelectMany(target => Tensors(layout.Spec, target, values, twins)));
        var exported = new ExportedAdapter(
            PeftConfig.Write(twins is null ? layout : WithTwins(layout), form.BaseModel ?? plan.Model.Path, given?.ConfigJson), tensors);
        return form.Vllm ? VllmForm.Of(exported, layout, form) : given is null ? exported : exported with { Tensors = new([.. tensors, .. given.BaseTensors]) };
    }

    // Ranks double; every scaling stays what it was.
    private static AdapterLayout WithTwins(AdapterLayout layout)
    {
        var spec = layout.Spec;
        var rank = 2 * spec.Rank;
        var alpha = spec.ScalingFactor * rank;
        return AdapterLayout.Unbounded(spec with
        {
            Rank = rank,
            Alpha = alpha,
            Scaling = Scaling.AlphaOverRank,
            RankPattern = [.. layout.Targets.Where(target => target.Rank != spec.Rank).Select(static target => KeyValuePair.Create(target.Module, 2 * target.Rank))],
            AlphaPattern = [.. layout.Targets.Where(target => target.Scaling * 2 * target.Rank != alpha).Select(static target => KeyValuePair.Create(target.Module, target.Scaling * 2 * target.Rank))],
        }, [.. layout.Targets.Select(static target => target.Layer)]);
    }

    private static IEnumerable<KeyValuePair<string, NamedArray>> Tensors(AdapterSpec spec, AdapterTarget target, AdapterState values, AdapterState? twins)
    {
        var (nameA, nameB) = (AdapterTensor.NameOf(target.Module, Roles.A), AdapterTensor.NameOf(target.Module, Roles.B));
        var (a, b) = (values[nameA].Data, Merged(spec, values[nameB]));
        if (twins is not null)
        {
            a = [.. a, .. twins[nameA].Data];
            b = SideBySide(b, Merged(spec, twins[nameB]), target.Rank);
        }

        var rank = twins is null ? target.Rank : 2 * target.Rank;
        yield return new(PeftNames.Of(target.Layer, Roles.A), new([rank, target.Layer.InWidth], a));
        yield return new(PeftNames.Of(target.Layer, Roles.B), new([target.Layer.OutWidth, rank], b));
        if (spec.Decomposed) yield return new(PeftNames.Of(target.Layer, Roles.Magnitude), values[AdapterTensor.NameOf(target.Module, Roles.Magnitude)]);
    }

    // [N, D_out, R] -> [D_out, R].
    private static float[] Merged(AdapterSpec spec, NamedArray heads)
    {
        var length = heads.Data.Length / spec.Heads;
        if (spec.Heads == 1) return heads.Data;
        var share = spec.Routing is Routing.Mean ? 1.0 / spec.Heads : 1;
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

    private static AdapterState WithoutRouters(AdapterState state) => new(state.Where(static entry => !entry.Key.EndsWith(".router", StringComparison.Ordinal)));

    // Needed only for magnitudes of a client that has not trained yet.
    private sealed class LazyModel(string folder) : IDisposable
    {
        private CausalLanguageModel? _model;

        public CausalLanguageModel Load() => _model ??= ModelRegistry.Load(folder, CPU, ScalarType.Float32);

        public void Dispose() => _model?.Dispose();
    }
}
