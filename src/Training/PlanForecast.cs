using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Training.Data;
using FedRLora.Training.Data.Chat;
using FedRLora.Training.Models;
using FedRLora.Training.Models.Weights;

namespace FedRLora.Training;

/// <summary>
/// How long a plan will take on this machine, by what it multiplies: the tokens of a sample of each client's rows, the frozen layers' sizes
/// and the measured speed of matrix products. A guide within a factor of two; the run itself says more after its first steps.
/// </summary>
public sealed record PlanForecast
{
    private const int Sampled = 64; // rows of a file

    // A step of training takes one and a half times as long as its products alone (docs/performance.md).
    private const double BesideProducts = 1.5;

    /// <summary>Tokens that go through the model in training, there and back.</summary>
    public required double TrainedTokens { get; init; }

    /// <summary>Tokens that go through it to score clients, and the base on the same rows.</summary>
    public required double ScoredTokens { get; init; }

    /// <summary>Parameters that a token is multiplied with: of the layers inside the blocks.</summary>
    public required long Parameters { get; init; }

    /// <summary>Groups that this machine trains side by side: its lanes, or as many as the plan has groups.</summary>
    public required int SideBySide { get; init; }

    /// <summary>The machine's speed.</summary>
    public required EngineReport Engine { get; init; }

    /// <summary>Of training, all rounds and clients.</summary>
    public TimeSpan Training => Taking(TrainedTokens * 4);

    /// <summary>Of all scorings.</summary>
    public TimeSpan Scoring => Taking(ScoredTokens * 2);

    /// <summary>Both together, as people say a time.</summary>
    public string Shown => Forecast.Shown(Training + Scoring);

    /// <summary>The scorings, likewise.</summary>
    public string ShownScoring => Forecast.Shown(Scoring);

    /// <summary>Parameters of a model's layers inside the blocks.</summary>
    /// <param name="model">A Hugging Face folder or a GGUF file.</param>
    /// <exception cref="BadInputException">Its configuration is missing or not implemented.</exception>
    public static long ParametersOf(string model) => FrozenBase.LayersOf(model)
        .Where(static layer => layer.Kind is LayerKind.Linear or LayerKind.Conv1D)
            .Sum(static layer => (long)layer.InWidth * layer.OutWidth);

    /// <summary>Reads a sample of the rows and measures the machine, which takes some seconds.</summary>
    /// <param name="plan">A plan whose model and rows are on this machine.</param>
    /// <param name="root">Where its relative paths start from.</param>
    /// <param name="cancellationToken">The caller's token.</param>
    /// <exception cref="BadInputException">Model or rows cannot be read.</exception>
    public static async Task<PlanForecast> MakeAsync(FederationPlan plan, string root, CancellationToken cancellationToken)
    {
        var model = Path.GetFullPath(plan.Model.Path, root);
        var encoder = new RowEncoder(
            FrozenBase.Check(model), Math.Min(plan.Training.MaxTokens, ModelConfig.Load(model).MaxPositions),
            () => ChatTemplate.Find(ModelSource.At(model)));
        var files = new Dictionary<(string File, int Offset), (double Length, int Rows)>();
        var (trained, scored, scoredAlone, known) = (0.0, 0.0, 0.0, new HashSet<string>(StringComparer.Ordinal));
        // Where nothing stays with a client or its task, all have one adapter, which is scored once on the same rows.
        var isOne = plan.Sharing == Sharing.Method && !plan.Adapter.Has(Scope.Client) && !plan.Adapter.Has(Scope.Task);
        var times = (plan.Strategy.Rounds + plan.Evaluation.EveryRounds - 1) / plan.Evaluation.EveryRounds;
        foreach (var client in plan.Clients)
        {
            var (length, _) = await OfAsync(client.Data.Train, client.Data.Offset);
            trained += (double)(client.Steps ?? plan.Training.Steps) * plan.Strategy.Rounds * plan.Training.BatchSize * length;
            if (client.Data.Test is not { } test) continue;
            var (ofTest, rows) = await OfAsync(test, 0);
            var tokens = ofTest * Math.Min(rows, plan.Evaluation.MaxRows ?? int.MaxValue);
            var isFirst = known.Add(test);
            scored += tokens * ((isFirst ? 1 : 0) + (isFirst || !isOne ? times : 0)); // the base, and the client
            scoredAlone += tokens * times;
        }

        var isTwice = LocalOnlyRun.IsAskedBy(plan);
        var size = GroupSizing.Of(plan, model);
        var groups = plan.Clients.CountBy(static client => client.Site).Sum(site => (site.Value + size - 1) / size);
        var engine = await Task.Run(EngineReport.Measure, cancellationToken);
        return new()
        {
            TrainedTokens = trained * plan.Strategy.Selection.Fraction * (isTwice ? 2 : 1),
            ScoredTokens = scored + (isTwice ? scoredAlone : 0),
            Parameters = ParametersOf(model), SideBySide = Math.Min(engine.Lanes, groups), Engine = engine,
        };

        // The mean tokens of its first rows, and how many it has.
        async Task<(double Length, int Rows)> OfAsync(string file, int offset)
        {
            if (files.TryGetValue((file, offset), out var before)) return before;
            var (path, rows, examples) = (Path.GetFullPath(file, root), 0, new List<Example>());
            await JsonLines.ForEachAsync(path, offset, rows: null, (text, line) =>
            {
                if (rows++ < Sampled) examples.Add(JsonLines.Parse(text, path, line));
            }, cancellationToken);
            var length = examples.Count == 0 ? 0 : examples.Average(example => (double)encoder.Encode(example, path).Ids.Length);
            return files[(file, offset)] = (length, rows);
        }
    }

    private TimeSpan Taking(double tokensTimes) => TimeSpan.FromSeconds(
        tokensTimes * Parameters * BesideProducts / (Engine.GflopsAllLanes * SideBySide / Engine.Lanes * 1e9));
}
