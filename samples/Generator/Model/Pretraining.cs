using System.Globalization;
using FedRLora.Generator.Text;
using FedRLora.Training.Data.Tokenizers;
using FedRLora.Training.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Generator.Model;

/// <summary>Loss of one batch in nats per token.</summary>
internal sealed record LossPoint(int Step, double Inferences, double News);

/// <summary>
/// AdamW on endless stories, on one thread: reductions split by thread, and the model is to be the same bits on any machine of a kind.
/// </summary>
internal static class Pretraining
{
    public const int Steps = 2500;
    public const int BatchSize = 48;
    public const int Threads = 1;
    public const double LearningRate = 3e-3;
    private const double ClipNorm = 1;
    private const int WarmUp = 100;
    private const int ReportEvery = 250;

    /// <summary>Reads the tokenizer from <paramref name="folder"/>, trains, and writes the model and its card beside it.</summary>
    public static void Run(string folder, TextWriter log)
    {
        set_num_threads(Threads);
        var tokenizer = Tokenizer.Load(folder);
        var config = BaseModel.ConfigFor(tokenizer);
        using var model = ModelRegistry.Create(config, BaseModel.InitialParameters(config));
        var parameters = model.Parameters.Values.Cast<TorchSharp.Modules.Parameter>().ToArray();
        using var optimizer = optim.AdamW(parameters, LearningRate, beta1: 0.9, beta2: 0.98, weight_decay: 0.01);
        var corpus = new Corpus("pretraining");
        var curve = new List<LossPoint>();
        for (var step = 1; step <= Steps; step++)
        {
            foreach (var group in optimizer.ParamGroups)
                group.LearningRate = RateAt(step);
            var loss = Step(model, parameters, optimizer, corpus, tokenizer, measure: step % ReportEvery == 0);
            if (loss is not var (inferences, news))
                continue;
            curve.Add(new(step, inferences, news));
            BaseModel.Save(folder, config, model.Parameters);
            log.WriteLine(
                string.Create(CultureInfo.InvariantCulture, $"step {step} of {Steps}: inferences {inferences:F3}, news {news:F3}"));
        }
        ModelCard.Write(folder, config, curve);
    }

    private static (double Inferences, double News)? Step(
        CausalLanguageModel model, TorchSharp.Modules.Parameter[] parameters, optim.Optimizer optimizer, Corpus corpus,
        Tokenizer tokenizer, bool measure)
    {
        using var scope = NewDisposeScope();
        var batch = StoryBatch.Draw(corpus, tokenizer, BatchSize);
        var logits = model.LogitsOf(model.Hidden(batch.Inputs, attentionMask: null, adapters: null), adapters: null);
        var losses = nn.functional.cross_entropy(logits.reshape(-1, model.Config.VocabularySize), batch.Targets,
            reduction: nn.Reduction.None);
        optimizer.zero_grad();
        ((losses * batch.Weights).sum() / batch.Weights.sum()).backward();
        nn.utils.clip_grad_norm_(parameters, ClipNorm);
        optimizer.step();
        return measure ? (MeanWhere(losses, batch.Weights.eq(1)), MeanWhere(losses, batch.Weights.eq(StoryBatch.NewsWeight))) : null;
    }

    private static double MeanWhere(Tensor losses, Tensor mask) => losses.detach().masked_select(mask).mean().item<float>();

    /// <summary>Linear warm-up, then half a cosine down to two percent.</summary>
    private static double RateAt(int step) =>
        LearningRate * Math.Min((double)step / WarmUp, 0.02 + 0.98 * 0.5 * (1 + Math.Cos(Math.PI * step / Steps)));
}
