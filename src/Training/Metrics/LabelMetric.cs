using FedRLora.Abstractions.Ports;

namespace FedRLora.Training.Metrics;

/// <summary>
/// A function of how often each label was chosen for each: by <see cref="LabelScoring"/>, or by always answering one label, which gives
/// the score of the best constant answer.
/// </summary>
/// <param name="name">The plan's name for it.</param>
/// <param name="of">Of the table of counts, own label by chosen label.</param>
internal sealed class LabelMetric(string name, Func<int[,], double> of) : IMetric
{
    private const double Nearly = 0.95;

    public string Name => name;

    public MetricScore Score(ScoredRows rows, CancellationToken cancellationToken)
    {
        var answered = LabelScoring.Answer(rows, name, cancellationToken);
        var labels = rows.Test.Labels.Names.Count;
        var constant = Enumerable.Range(0, labels)
            .Max(label => of(Counts(answered.Own, Enumerable.Repeat(label, answered.Own.Count), labels)));
        return new(of(Counts(answered.Own, answered.Chosen, labels)), answered.Loss)
        {
            Constant = constant,
            Always = answered.Chosen.CountBy(static label => label).Where(label => label.Value >= Nearly * answered.Chosen.Count)
                .Select(label => rows.Test.Labels.Names[label.Key]).SingleOrDefault(),
            Rows = [.. answered.Own.Zip(answered.Chosen, static (own, chosen) => new RowScore(own == chosen ? 1 : 0, 1))],
        };
    }

    /// <summary>Share of rows whose own label was chosen.</summary>
    public static double Accuracy(int[,] counts) => (double)Labels(counts).Sum(label => counts[label, label]) / counts.Cast<int>().Sum();

    /// <summary>
    /// The mean, over the labels that rows have or that were chosen, of 2 TP / (2 TP + FP + FN): as scikit-learn's <c>f1_score</c> with
    /// <c>average="macro"</c>.
    /// </summary>
    public static double MacroF1(int[,] counts) => Labels(counts).Select(label =>
    {
        var (own, chosen) = (Labels(counts).Sum(other => counts[label, other]), Labels(counts).Sum(other => counts[other, label]));
        return (Right: counts[label, label], Seen: own + chosen);
    }).Where(static label => label.Seen > 0).Average(static label => 2.0 * label.Right / label.Seen);

    /// <summary>
    /// Gorodkin 2004 for any number of labels, 0 where the table has one row or one column: as scikit-learn's <c>matthews_corrcoef</c>.
    /// </summary>
    public static double Matthews(int[,] counts)
    {
        double rows = counts.Cast<int>().Sum(), right = Labels(counts).Sum(label => counts[label, label]);
        double both = 0, own = 0, chosen = 0;
        foreach (var label in Labels(counts))
        {
            double a = Labels(counts).Sum(other => counts[label, other]), b = Labels(counts).Sum(other => counts[other, label]);
            (both, own, chosen) = (both + a * b, own + a * a, chosen + b * b);
        }

        var spread = (rows * rows - own) * (rows * rows - chosen);
        return spread == 0 ? 0 : (right * rows - both) / Math.Sqrt(spread);
    }

    private static IEnumerable<int> Labels(int[,] counts) => Enumerable.Range(0, counts.GetLength(0));

    private static int[,] Counts(IEnumerable<int> own, IEnumerable<int> chosen, int labels)
    {
        var counts = new int[labels, labels];
        foreach (var (a, b) in own.Zip(chosen)) counts[a, b]++;
        return counts;
    }
}
