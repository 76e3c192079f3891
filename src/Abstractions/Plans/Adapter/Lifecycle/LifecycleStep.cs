using System.Text.Json;
using System.Text.Json.Serialization;

namespace FedRLora.Abstractions.Plans;

/// <summary>Something that happens to a method in some rounds of a run.</summary>
/// <param name="Rounds">In which, or after which.</param>
/// <param name="What">What.</param>
[JsonConverter(typeof(AsInAPlan))]
public sealed record LifecycleStep(RoundSet Rounds, LifecycleAction What)
{
    private sealed class AsInAPlan : JsonConverter<LifecycleStep>
    {
        public override LifecycleStep Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options) =>
            throw new NotSupportedException("a step is read from a plan");

        public override void Write(Utf8JsonWriter writer, LifecycleStep value, JsonSerializerOptions options)
        {
            writer.WriteStartObject();
            writer.WriteString("rounds", value.Rounds.Text);
            switch (value.What)
            {
                case LifecycleAction.Train train:
                    writer.WritePropertyName(train.Rule);
                    JsonSerializer.Serialize(writer, train.Tensors, options);
                    break;
                case LifecycleAction.CalibrateMask mask:
                    writer.WritePropertyName(mask.Rule);
                    JsonSerializer.Serialize(writer, new { sparsity = mask.Sparsity, over = mask.Over }, options);
                    break;
                case var other:
                    writer.WriteString("do", other.Rule);
                    break;
            }

            writer.WriteEndObject();
        }
    }
}

/// <summary>What happens.</summary>
public abstract record LifecycleAction : IPlanRule
{
    /// <summary>The action's name in a plan.</summary>
    public abstract string Rule { get; }

    /// <summary>
    /// In these rounds these tensors alone train, of those that train at all; of two such steps in a round the later of the list holds.
    /// </summary>
    /// <param name="Tensors">
    /// Their roles; <see cref="Heads"/> stands for those of scope client or task, <see cref="Shared"/> for those of scope job.
    /// </param>
    public sealed record Train(IReadOnlyList<string> Tensors) : LifecycleAction
    {
        /// <summary>Tensors of scope client or task.</summary>
        public const string Heads = "heads";

        /// <summary>Tensors of scope job.</summary>
        public const string Shared = "shared";

        /// <inheritdoc/>
        public override string Rule => "train";

        /// <summary>Whether a tensor trains.</summary>
        public bool Has(TensorRole role, TensorPolicy policy) => Tensors.Any(name => name switch
        {
            Heads => policy.IsHead,
            Shared => policy.Scope == Scope.Job,
            _ => name == role.Name,
        });
    }

    /// <summary>
    /// After these rounds the pair of factors joins the frozen links, and a fresh pair begins, with moments of its own (COLA, arXiv
    /// 2401.04151).
    /// </summary>
    public sealed record MergeAndRedraw : LifecycleAction
    {
        /// <inheritdoc/>
        public override string Rule => "mergeAndRedraw";
    }

    /// <summary>
    /// After these rounds the largest entries of the heads are marked, and the heads begin again, where only those train (LoRI-S, arXiv
    /// 2504.07448).
    /// </summary>
    /// <param name="Sparsity">The share of entries that no longer trains; of n entries (1 - sparsity) n train, rounded down.</param>
    /// <param name="Over">What entries are compared over; at least one of each span trains.</param>
    public sealed record CalibrateMask(double Sparsity = 0.9, MaskSpan Over = MaskSpan.Model) : LifecycleAction
    {
        /// <inheritdoc/>
        public override string Rule => "calibrateMask";
    }
}

/// <summary>What the entries of heads are compared over when a mask is calibrated.</summary>
public enum MaskSpan
{
    /// <summary>All heads that have one owner: a client, a task or all clients.</summary>
    Model,

    /// <summary>Those of a block.</summary>
    Layer,

    /// <summary>Those of layers whose names have the same last part.</summary>
    Projection,

    /// <summary>
    /// Those of layers whose names have the same last part but one, in all blocks: attention, or the feed-forward network.
    /// </summary>
    Module,

    /// <summary>Each by itself.</summary>
    Matrix,
}
