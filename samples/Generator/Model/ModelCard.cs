using System.Globalization;
using System.Text;
using FedRLora.Training.Models;

namespace FedRLora.Generator.Model;

/// <summary>The README.md beside the model.</summary>
internal static class ModelCard
{
    public static void Write(string folder, ModelConfig config, IReadOnlyList<LossPoint> curve)
    {
        var count = ModelRegistry.ExpectedParameters(config).Sum(p => p.Shape.Aggregate(1L, (product, size) => product * size));
        var sizes = $"{config.Layers} layers, width {config.HiddenSize}, MLP {config.IntermediateSize}, "
            + $"{config.AttentionHeads} attention heads";
        var batches = $"{Pretraining.Steps} steps of {Pretraining.BatchSize} stories";
        var rate = string.Create(CultureInfo.InvariantCulture, $"peak rate {Pretraining.LearningRate}, warm-up then cosine");
        var news = string.Create(CultureInfo.InvariantCulture, $"{StoryBatch.NewsWeight} on news, which nothing could predict");
        var text = new StringBuilder();
        text.AppendLine(CultureInfo.InvariantCulture, $"""
            # The samples' base model

            A small Llama that this repository trains itself, so that a federation can be shown on two cores without a download.
            Written by `make samples` (samples/Generator); do not edit.

            | | |
            | --- | --- |
            | architecture | `LlamaForCausalLM`, {sizes}, tied embeddings, context {config.MaxPositions} |
            | parameters | {count:N0}, float32 |
            | tokenizer | byte-level BPE, {config.VocabularySize} tokens: 3 special, 256 bytes, merges learned from the same text |
            | data | {Pretraining.Steps * Pretraining.BatchSize:N0} generated stories, none seen twice by design |
            | training | AdamW, {batches}, {rate}, gradient norm clipped at 1, one thread |
            | loss | next token; weight 1 on words that follow from what was told, {news} |
            | seed | {Text.Dice.SampleSeed}; the same engine gives the same bits |

            ## What it has seen

            Short stories about a small world: who gave what to whom and who is glad then, what was carried where, who is older, what was
            done before what, what people spoke of on which day, and reviews with what they led to. Also lists that are read twice, and
            sentences in which the words of the task frames occur as mere words. It has seen no prompt of samples/tasks and no frame of
            one, and no label after a fact: what a label means, an adapter has to learn.

            ## What it is not

            A language model of English. It knows the words of its generator and nothing of the world; outside them it produces noise.
            Scores reached with it say whether adaptation and federation work, not how well a method would do on a real model.

            ## Training curve

            Nats per token of one batch.

            | step | inferences | news |
            | --- | --- | --- |
            """);
        foreach (var point in curve.Where((_, i) => i % 3 == 2 || i == curve.Count - 1))
            text.AppendLine(CultureInfo.InvariantCulture, $"| {point.Step} | {point.Inferences:F3} | {point.News:F3} |");
        File.WriteAllText(Path.Combine(folder, "README.md"), text.ToString());
    }
}
