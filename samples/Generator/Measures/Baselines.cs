using System.Globalization;
using FedRLora.Generator.Tasks;

namespace FedRLora.Generator.Measures;

/// <summary>
/// What trivial methods reach: fitted on the training rows, measured on the test rows. A task is worth adapting to only if
/// all of them stay near chance.
/// </summary>
/// <param name="Majority">Always the most frequent completion.</param>
/// <param name="BestWord">The majority completion given the presence or absence of one word; the word is the best on train.</param>
/// <param name="BestLength">The majority completion for each number of words.</param>
/// <param name="NaiveBayes">Word counts with add-one smoothing.</param>
/// <param name="BestPosition">The prompt's word at one position, counted from the start or the end.</param>
internal sealed record Baselines(double Majority, double BestWord, string Word, double BestLength, double NaiveBayes, double BestPosition)
{
    public static Baselines Of(IReadOnlyList<Row> train, IReadOnlyList<Row> test)
    {
        var words = train.SelectMany(WordsOf).Distinct().Order(StringComparer.Ordinal);
        var word = words.MaxBy(w => Score(train, row => WordsOf(row).Contains(w), train))!;
        var position = Enumerable.Range(-16, 32).MaxBy(p => Accuracy(train, row => At(row, p)));
        return new(
            Majority: Score(train, _ => true, test),
            BestWord: Score(train, row => WordsOf(row).Contains(word), test),
            Word: word,
            BestLength: Score(train, row => WordsOf(row).Length, test),
            NaiveBayes: Accuracy(test, NaiveBayesOf(train)),
            BestPosition: Accuracy(test, row => At(row, position)));
    }

    public static void Print(string folder, TextWriter output)
    {
        output.WriteLine("| task | majority | best word | best length | naive Bayes | best position |");
        output.WriteLine("| --- | --- | --- | --- | --- | --- |");
        foreach (var task in SampleTask.All)
        {
            var b = Of(TaskFiles.Read(folder, task.Name, "train"), TaskFiles.Read(folder, task.Name, "test"));
            output.WriteLine(string.Create(CultureInfo.InvariantCulture,
                $"| {task.Name} | {b.Majority:F3} | {b.BestWord:F3} ({b.Word}) | {b.BestLength:F3} | {b.NaiveBayes:F3} | "
                    + $"{b.BestPosition:F3} |"));
        }
    }

    /// <summary>
    /// Learns the majority completion for each value of <paramref name="feature"/> on train; unseen values get the overall majority.
    /// </summary>
    private static double Score<T>(IReadOnlyList<Row> train, Func<Row, T> feature, IReadOnlyList<Row> test) where T : notnull
    {
        var overall = MajorityOf(train);
        var byValue = train.GroupBy(feature).ToDictionary(group => group.Key, MajorityOf);
        return Accuracy(test, row => byValue.GetValueOrDefault(feature(row), overall));
    }

    private static string MajorityOf(IEnumerable<Row> rows) =>
        rows.GroupBy(row => row.Completion).OrderByDescending(g => g.Count()).ThenBy(g => g.Key, StringComparer.Ordinal).First().Key;

    private static Func<Row, string> NaiveBayesOf(IReadOnlyList<Row> train)
    {
        var vocabulary = train.SelectMany(WordsOf).Distinct().Count();
        var classes = train.GroupBy(row => row.Completion).Select(rows =>
        {
            var counts = rows.SelectMany(WordsOf).GroupBy(w => w).ToDictionary(g => g.Key, g => g.Count());
            var total = counts.Values.Sum() + vocabulary;
            return (Completion: rows.Key, Prior: Math.Log((double)rows.Count() / train.Count),
                Log: (Func<string, double>)(w => Math.Log((counts.GetValueOrDefault(w) + 1.0) / total)));
        }).OrderBy(c => c.Completion, StringComparer.Ordinal).ToArray();
        return row => classes.MaxBy(c => c.Prior + WordsOf(row).Sum(c.Log)).Completion;
    }

    private static string At(Row row, int position)
    {
        var words = WordsOf(row);
        var index = position < 0 ? words.Length + position : position;
        return index >= 0 && index < words.Length ? words[index] : "";
    }

    private static double Accuracy(IReadOnlyList<Row> rows, Func<Row, string> predict) =>
        Math.Round((double)rows.Count(row => predict(row) == row.Completion) / rows.Count, 4);

    private static string[] WordsOf(Row row) => row.Prompt.Split([' ', '.', ',', ':', '?'], StringSplitOptions.RemoveEmptyEntries);
}
