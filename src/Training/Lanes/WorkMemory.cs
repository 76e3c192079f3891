using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Adapters;
using FedRLora.Training.Data;
using FedRLora.Training.Models;

namespace FedRLora.Training.Lanes;

/// <summary>Estimates, from shapes alone, of the memory that work on a device takes beside the frozen base.</summary>
internal static class WorkMemory
{
    private const long Float = sizeof(float);
    private const long TrainingScratch = 32L << 20; // logits of a piece
    private const long ScoringScratch = 64L << 20;
    private const long ScoredTokens = 4096;

    /// <summary>Of a group: its adapters, the rows of one pass, and scratch.</summary>
    public static long OfTraining(FederationPlan plan, AdapterLayout layout, CausalLanguageModel model, IReadOnlyList<TrainingRows> members)
    {
        var perRow = OfRow(plan.Training, model.Config, model.Linears);
        long[] passes = [.. members.Select(member => perRow * member.Rows
            .Select(static row => (long)row.Ids.Length).OrderDescending().Take(plan.Training.BatchSize).Sum())];
        // A pass of one member is as large as it is.
        var together = Math.Max(Math.Min(passes.Sum(), plan.Training.PassMemoryMb * 1_000_000L), passes.Max());
        return members.Count * OfMember(layout) + together + TrainingScratch;
    }

    /// <summary>Of one scoring.</summary>
    /// <param name="model">The frozen base.</param>
    /// <param name="layout">Of the adapter; null for the base alone.</param>
    public static long OfScoring(CausalLanguageModel model, AdapterLayout? layout) =>
        ScoringScratch + (layout is null ? 0 : Float * layout.Tensors.Sum(static tensor => NamedArray.Count(tensor.Shape)))
        + Float * ScoredTokens * (4L * model.Config.HiddenSize + 3L * model.Config.IntermediateSize);

    /// <summary>Of a prompt: its adapter, the activations of the prompt, and the keys and values that are kept.</summary>
    /// <param name="model">The frozen base.</param>
    /// <param name="layout">Of the adapter.</param>
    /// <param name="prompt">Tokens of the prompt.</param>
    /// <param name="tokens">Tokens in all, at most.</param>
    public static long OfPrompt(CausalLanguageModel model, AdapterLayout layout, int prompt, int tokens)
    {
        var config = model.Config;
        var kept = layout.Method.SeesSequences ? 0 : 2L * Float * config.Layers * config.KeyValueHeads * config.HeadDim;
        var through = layout.Method.SeesSequences ? tokens : prompt;
        return Float * layout.Tensors.Sum(static tensor => NamedArray.Count(tensor.Shape)) + 2 * kept * tokens // room grows by doubling
            + Float * through * (4L * config.HiddenSize + 3L * config.IntermediateSize) + Float * 2L * config.VocabularySize;
    }

    /// <summary>
    /// Of a member of a group: value, gradient and two moments of what trains, the states that it came with, and what terms of the
    /// objective hold beside them.
    /// </summary>
    public static long OfMember(AdapterLayout layout)
    {
        var kept = layout.Spec.Objectives.Sum(term => term switch
        {
            Objective.Proximal => Trained(static tensor => tensor.Policy.IsAggregated), // where they began
            Objective.ControlVariates => 3 * Trained(static tensor => tensor.Scope == Scope.Job), // c, c_k and their difference
            _ => 0,
        });
        var all = layout.Tensors.Sum(static tensor => NamedArray.Count(tensor.Shape));
        return Float * (2 * all + 5 * Trained(static _ => true) + kept);

        long Trained(Func<AdapterTensor, bool> which) =>
            layout.Tensors.Where(tensor => tensor.Trains && which(tensor)).Sum(static tensor => NamedArray.Count(tensor.Shape));
    }

    /// <summary>
    /// Of a token in a pass: what the backward pass reads of every layer, which is each product and each input of one, or with checkpoints
    /// the input of each layer and one layer.
    /// </summary>
    public static long OfRow(TrainingSpec training, ModelConfig config, IReadOnlyList<LinearShape> linears)
    {
        var layer = linears.Sum(static linear => (long)linear.OutWidth) / config.Layers + 3L * config.HiddenSize + config.IntermediateSize;
        return Float * (training.ActivationCheckpointing ? layer + (long)config.HiddenSize * config.Layers : layer * config.Layers);
    }
}
