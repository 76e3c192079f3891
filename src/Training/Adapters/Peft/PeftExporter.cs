using System.Collections.Concurrent;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Adapters.Algebra;
using FedRLora.Training.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training.Adapters.Peft;

/// <summary>
/// A client's adapter as plain LoRA, or DoRA where its weight is decomposed. Heads are merged; the frozen tensors of an anchored start
/// become extra rank, A' = [A; A^0] and B' = [B, -B^0], with lora_alpha s times the exported rank, so that PEFT computes the same s.
/// </summary>
/// <param name="root">What a plan's paths are relative to.</param>
public sealed class PeftExporter(string root) : IAdapterExporter
{
    private readonly AdapterSource _source = new(root);
    private readonly ConcurrentDictionary<(string Files, WeightStorage Storage), AdapterBase> _bases = new();

    /// <inheritdoc/>
    public ExportedAdapter Export(
        FederationPlan plan, int round, ClientSpec client, AdapterState shared, AdapterState? head, ExportForm? form = null)
    {
        plan = plan with { Adapter = plan.AdapterAt(round) };
        var folder = Path.GetFullPath(plan.Model.Path, Path.GetFullPath(root));
        form = (form ?? new()) with { BaseModel = form?.BaseModel ?? folder };
        // For magnitudes of a client that has not trained yet, and for the digest of its numbers.
        using var model = new LoadedModel(folder, plan.Model.Storage);
        var exported = Export(plan,
            adapter => _source.LayoutOf(plan with { Adapter = adapter }, FrozenBase.LayersOf(folder), () => model.Model),
            _source.Given(plan), client, shared, head, form);
        return exported with { Metadata = BaseOf(folder, plan.Model.Storage, model).Metadata };
    }

    // Once for all clients of a run.
    private AdapterBase BaseOf(string folder, WeightStorage storage, LoadedModel model)
    {
        var files = AdapterBase.FilesOf(folder);
        return _bases.GetOrAdd((files, storage), _ => AdapterBase.Of(model.Model, files, storage));
    }

    /// <inheritdoc/>
    public string? DigestOfGiven(FederationPlan plan) => _source.Given(plan)?.Sha256;

    /// <summary>The same where the layout is known.</summary>
    internal static ExportedAdapter Export(
        FederationPlan plan, Func<AdapterSpec, AdapterLayout> layoutOf, PeftAdapter? given, ClientSpec client, AdapterState shared,
        AdapterState? head, ExportForm? form = null)
    {
        form ??= new();
        if (!plan.Adapter.IsStatic)
        {
            if (!form.Nearest)
            {
                var what = plan.Adapter.Heads > 1 ? "heads" : "rows of A"; // a gate over ranks has one head
                throw new BadInputException(
                    $"export: {plan.Adapter.Method} weighs {what} by the input (routing {plan.Adapter.Routing.Rule}), so it has "
                    + "no static LoRA form; train with routing mean, sum or byTask, or ask for the nearest static form, which "
                    + $"weighs all {what} alike (--nearest)");
            }
        }

        var layout = layoutOf(plan.Adapter);
        using var scope = NewDisposeScope();
        using var inference = no_grad();
        var adapter = PlacedAdapter.Create(AdapterFactory.Of(plan, layout, client, shared, head), CPU);
        var factors = layout.Targets.ToDictionary(static target => target.Module, target => FactorsOf(adapter, target),
            StringComparer.Ordinal);
        var tensors = new AdapterState(layout.Targets.SelectMany(target => Tensors(adapter, target, factors[target.Module])));
        var exported = new ExportedAdapter(
            PeftConfig.Write(WithRanks(layout, factors), form.BaseModel ?? plan.Model.Path, given?.ConfigJson), tensors);
        return form.Vllm ? VllmForm.Of(exported, layout, form)
            : given is null ? exported
            : exported with { Tensors = new([.. tensors, .. given.BaseTensors]) };
    }

    // What PEFT multiplies by its own scaling; in float64, so that a sum of heads is rounded once.
    private static (NamedArray A, NamedArray B) FactorsOf(PlacedAdapter adapter, AdapterTarget target)
    {
        var (method, tensors) = (adapter.Layout.MethodOf(target), adapter.Of(target, ScalarType.Float64));
        var (a, b) = Bottleneck.Factors(method, tensors, method.IsScaledAlike ? 1 : target.Scaling);
        if (!method.IsScaledAlike) b = b.div(Living.Of(target.Scaling));
        return (new(a[0].shape, TensorData.Values(a)), new(b[0].shape, TensorData.Values(b)));
    }

    private static IEnumerable<KeyValuePair<string, NamedArray>> Tensors(
        PlacedAdapter adapter, AdapterTarget target, (NamedArray A, NamedArray B) factors)
    {
        yield return new(PeftNames.Of(target.Layer, Roles.A), factors.A);
        yield return new(PeftNames.Of(target.Layer, Roles.B), factors.B);
        foreach (var parameter in adapter.Parameters.Where(parameter => parameter.Info.Target == target.Layer))
        {
            if (parameter.Info.Role.Name == Roles.Magnitude)
                yield return new(PeftNames.Of(target.Layer, Roles.Magnitude),
                    new(parameter.Info.Shape, TensorData.Values(parameter.Value)));
        }
    }

    // A frozen start is rank beyond the trained, and PEFT divides alpha by a rank; every scaling stays what it was.
    private static AdapterLayout WithRanks(AdapterLayout layout, Dictionary<string, (NamedArray A, NamedArray B)> factors)
    {
        int RankOf(AdapterTarget target) => (int)factors[target.Module].A.Shape[0];
        var spec = layout.Spec;
        var isDivided = spec.Scaling != Scaling.Constant && spec.Routing.ActiveRank is null;
        if (isDivided && layout.Targets.All(target => RankOf(target) == target.Rank)) return layout;
        var rank = spec.Rank * RankOf(layout.Targets[0]) / layout.Targets[0].Rank;
        var alpha = spec.ScalingFactor * rank;
        return AdapterLayout.Unbounded(spec with
        {
            Rank = rank,
            Alpha = alpha,
            Scaling = Scaling.AlphaOverRank,
            RankPattern = [.. layout.Targets.Where(target => RankOf(target) != rank)
                .Select(target => KeyValuePair.Create(target.Module, RankOf(target)))],
            AlphaPattern =
            [
                .. layout.Targets.Where(target => target.Scaling * RankOf(target) != alpha)
                    .Select(target => KeyValuePair.Create(target.Module, target.Scaling * RankOf(target))),
            ],
        }, [.. layout.Targets.Select(static target => target.Layer)]);
    }
}
