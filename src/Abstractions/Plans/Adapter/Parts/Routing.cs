using System.Text.Json.Serialization;

namespace FedRLora.Abstractions.Plans;

/// <summary>How the heads of a layer are mixed; in JSON its rule's name, with the values of a rule that has some.</summary>
[JsonConverter(typeof(RuleJson<Routing>))]
public abstract partial record Routing : IAdapterPart, IPlanRule
{
    /// <summary>The rule's name in a plan.</summary>
    public abstract string Rule { get; }

    /// <inheritdoc/>
    public virtual IReadOnlyList<TensorRole> Roles => [];

    /// <inheritdoc/>
    public virtual string? KeepsOffEmbeddings => null;

    /// <summary>Whether the mix is the same for every input, so that the adapter merges and exports exactly.</summary>
    public virtual bool IsStatic => true;

    /// <summary>Whether it looks at a sequence as a whole, so that the mix of a token depends on tokens behind it.</summary>
    public virtual bool SeesSequences => false;

    /// <summary>
    /// Rows of A that one input uses, where the rule chooses among them: r in the scaling. Null where all of them are used.
    /// </summary>
    public virtual int? ActiveRank => null;

    /// <summary>Why the rule cannot choose among the rows of an A of this rank, and what to give; null where it can.</summary>
    public virtual string? WhyNot(int rank) => null;

    /// <inheritdoc/>
    public virtual IEnumerable<PlanConflict> Conflicts(AdapterSpec spec) => [];

    /// <summary>Whether it has values beside its name.</summary>
    internal bool HasValues => RuleJson<Routing>.ValuesOf(this).Count > 0;

    /// <summary>The head of the client's own task. A client has one task, so this is one head: plain LoRA.</summary>
    public sealed record ByTask : Routing
    {
        /// <inheritdoc/>
        public override string Rule => "byTask";

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
    public sealed record Mean : Routing
    {
        /// <inheritdoc/>
        public override string Rule => "mean";
    }

    /// <summary>The sum of all heads.</summary>
    public sealed record Sum : Routing
    {
        /// <inheritdoc/>
        public override string Rule => "sum";
    }

    private static IEnumerable<PlanConflict> OneHead(AdapterSpec spec, string rule)
    {
        if (spec.Heads == 1)
        {
            yield return new(
                $"{rule} over one head is constant; give heads: 2 or more, or routing: byTask.", "adapter.routing", "adapter.heads");
        }
    }
}
