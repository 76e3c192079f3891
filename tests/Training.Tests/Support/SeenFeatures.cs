using FedRLora.Abstractions.Plans;
using FedRLora.Training.Adapters;
using FedRLora.Training.Adapters.Algebra;
using FedRLora.Training.Models;
using static TorchSharp.torch;

namespace FedRLora.Training.Tests;

/// <summary>A method that shows what comes down by A, and that may penalize it within its mix.</summary>
/// <param name="inner">The method.</param>
/// <param name="penalty">From features and tasks to what is added to each member's loss; null for nothing.</param>
internal sealed class SeenFeatures(AdapterMethod inner, Func<Tensor, MixContext, MixTraining, Tensor>? penalty = null) : AdapterMethod
{
    /// <summary>Gets what comes down in each call, <c>[G, m, masks, R]</c>, with its graph; null lets it go.</summary>
    public List<Tensor>? Features { get; set; }

    public override IEnumerable<(string Role, long[] Shape)> Shapes(AdapterTarget target) => inner.Shapes(target);

    public override Factors Factors(LayerTensors tensors) => inner.Factors(tensors);

    public override Tensor Mix(LayerTensors tensors, Narrow z, MixContext context)
    {
        var features = z[LowRankFactors.A];
        if (!context.IsUniform) Features?.Add(features.narrow(0, 0, features.shape[0]).DetachFromDisposeScope());
        if (penalty is not null && context.Training is { } training) training.Penalize(penalty(features, context, training));
        return inner.Mix(tensors, z, context);
    }

    // A mix that penalizes is not passed over.
    public override bool IsPlain => penalty is null && inner.IsPlain;

    public override bool IsFixed => inner.IsFixed;

    public override bool IsStatic => inner.IsStatic;

    public override bool IsScaledAlike => inner.IsScaledAlike;

    public override bool HasColumns => inner.HasColumns;

    public override Tensor Columns(LayerTensors tensors, Tensor norms) => inner.Columns(tensors, norms);

    public override Tensor FromWeight(string role, Tensor weight) => inner.FromWeight(role, weight);

    /// <summary>The layout of a method that is seen.</summary>
    public static (SeenFeatures Method, AdapterLayout Layout) On(
        AdapterSpec spec, CausalLanguageModel model, Func<Tensor, MixContext, MixTraining, Tensor>? penalty = null)
    {
        var seen = new SeenFeatures(AdapterMethods.Of(spec), penalty);
        return (seen, AdapterLayout.Of(
            seen, spec, [.. spec.Roles.Select(role => role with { Default = spec.Tensor(role.Name) })], model.AdaptableLayers,
            new AdapterStart(null, () => model)));
    }
}
