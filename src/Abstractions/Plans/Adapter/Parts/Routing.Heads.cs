namespace FedRLora.Abstractions.Plans;

// Rules that weigh heads.
public abstract partial record Routing
{
    /// <summary>Dense softmax over a linear router of the layer input, per token (R-LoRA, HydraLoRA).</summary>
    public sealed record Softmax : Routing
    {
        /// <summary>The router, <c>[N, D_in]</c>.</summary>
        public const string Router = "router";

        private static readonly TensorRole[] Tensors =
            [new(Router, new()) { Summary = "the router's weights", Shape = "[heads, inputs]", ComesWith = "routing: softmax" }];

        /// <inheritdoc/>
        public override string Rule => "softmax";

        /// <inheritdoc/>
        public override IReadOnlyList<TensorRole> Roles => Tensors;

        /// <inheritdoc/>
        public override string? KeepsOffEmbeddings => "a router";

        /// <inheritdoc/>
        public override bool IsStatic => false;

        /// <inheritdoc/>
        public override IEnumerable<PlanConflict> Conflicts(AdapterSpec spec) => OneHead(spec, Rule);
    }

    /// <summary>Softmax over a number for each head, the same for every input (MTL-LoRA, arXiv 2410.09437).</summary>
    /// <param name="Tau">The temperature that the numbers are divided by.</param>
    public sealed record TaskSoftmax(double Tau = 0.1) : Routing
    {
        /// <summary>The logits, <c>[N]</c>.</summary>
        public const string Weights = "taskWeights";

        private static readonly TensorRole[] Tensors =
        [
            new(Weights, new() { Init = Init.KaimingUniform, Seed = SeedPolicy.PerTask })
            {
                Summary = "the logits of the heads' weights", Shape = "[heads]", ComesWith = "routing: taskSoftmax",
            },
        ];

        /// <inheritdoc/>
        public override string Rule => "taskSoftmax";

        /// <inheritdoc/>
        public override IReadOnlyList<TensorRole> Roles => Tensors;

        /// <inheritdoc/>
        public override IEnumerable<PlanConflict> Conflicts(AdapterSpec spec) => OneHead(spec, Rule);
    }

    /// <summary>
    /// Softmax over the K largest logits of a linear gate of the layer input, per token; of equal logits the lower head is taken
    /// (MeteoRA, arXiv 2405.13053; MALoRA, arXiv 2410.22782).
    /// </summary>
    /// <param name="K">Heads that a token uses.</param>
    /// <param name="Temperature">The kept logits are divided by it in evaluation; training has them as they are, as published.</param>
    public sealed record TopK(int K = 2, double Temperature = 1) : Routing
    {
        /// <summary>The gate, <c>[N, D_in]</c>.</summary>
        public const string Gate = "gate";

        private static readonly TensorRole[] Tensors =
        [
            new(Gate, new() { Init = Init.Gaussian(1) })
            {
                Summary = "the gate's weights", Shape = "[heads, inputs]", ComesWith = "routing: topK",
            },
        ];

        /// <inheritdoc/>
        public override string Rule => "topK";

        /// <inheritdoc/>
        public override IReadOnlyList<TensorRole> Roles => Tensors;

        /// <inheritdoc/>
        public override string? KeepsOffEmbeddings => "a gate";

        /// <inheritdoc/>
        public override bool IsStatic => false;

        /// <inheritdoc/>
        public override IEnumerable<PlanConflict> Conflicts(AdapterSpec spec)
        {
            foreach (var conflict in OneHead(spec, Rule)) yield return conflict;
            if (K > spec.Heads && spec.Heads > 1)
            {
                yield return new(
                    $"{K} heads of {spec.Heads} cannot be kept; give k: {spec.Heads} or less, or more heads.",
                    "adapter.routing.topK.k", "adapter.heads");
            }
        }
    }
}
