using System.Text.Json.Serialization;

namespace FedRLora.Abstractions.Plans;

/// <summary>How the heads of a layer are mixed.</summary>
[JsonPolymorphic(TypeDiscriminatorPropertyName = "rule")]
[JsonDerivedType(typeof(ByTask), "byTask")]
[JsonDerivedType(typeof(Mean), "mean")]
[JsonDerivedType(typeof(Sum), "sum")]
[JsonDerivedType(typeof(Softmax), "softmax")]
public abstract record Routing : IAdapterPart
{
    /// <inheritdoc/>
    public virtual IReadOnlyList<TensorRole> Roles => [];

    /// <inheritdoc/>
    public virtual string? KeepsOffEmbeddings => null;

    /// <summary>Whether the mix is the same for every input, so that the adapter merges and exports exactly.</summary>
    [JsonIgnore]
    public virtual bool IsStatic => true;

    /// <inheritdoc/>
    public virtual IEnumerable<PlanConflict> Conflicts(AdapterSpec spec) => [];

    /// <summary>The head of the client's own task. A client has one task, so this is one head: plain LoRA.</summary>
    public sealed record ByTask : Routing
    {
        /// <inheritdoc/>
        public override IEnumerable<PlanConflict> Conflicts(AdapterSpec spec)
        {
            if (spec.Heads > 1)
            {
                yield return new(
                    $"byTask gives a client one head, the plan asks for {spec.Heads}; give heads: 1, or routing: mean, sum or softmax.",
                    "adapter.routing", "adapter.heads");
            }
        }
    }

    /// <summary>The mean of all heads.</summary>
    public sealed record Mean : Routing;

    /// <summary>The sum of all heads.</summary>
    public sealed record Sum : Routing;

    /// <summary>Dense softmax over a linear router of the layer input, per token (R-LoRA, HydraLoRA).</summary>
    public sealed record Softmax : Routing
    {
        /// <summary>The router, <c>[N, D_in]</c>.</summary>
        public const string Router = "router";

        private static readonly TensorRole[] Tensors =
            [new(Router, new()) { Summary = "the router's weights", ComesWith = "routing: softmax" }];

        /// <inheritdoc/>
        public override IReadOnlyList<TensorRole> Roles => Tensors;

        /// <inheritdoc/>
        public override string? KeepsOffEmbeddings => "a router";

        /// <inheritdoc/>
        public override bool IsStatic => false;

        /// <inheritdoc/>
        public override IEnumerable<PlanConflict> Conflicts(AdapterSpec spec)
        {
            if (spec.Heads == 1)
            {
                yield return new(
                    "softmax over one head is constant; give heads: 2 or more, or routing: byTask.", "adapter.routing", "adapter.heads");
            }
        }
    }
}
