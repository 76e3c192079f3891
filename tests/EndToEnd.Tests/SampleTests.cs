using System.Text.Json;
using FedRLora.Abstractions.Plans;

namespace FedRLora.EndToEnd.Tests;

/// <summary>What the repository ships for the demo.</summary>
public sealed class SampleTests
{
    private static readonly string[] Labelled = ["opinion", "topic", "claim", "time"];

    private static string Samples { get; } = Path.Combine(Repository.Root, "samples");

    [Theory]
    [InlineData("demo.yaml")]
    [InlineData("demo-shuffled.yaml")]
    [InlineData("stories.yaml")]
    [InlineData("hostile.yaml")]
    public void A_sample_plan_is_valid(string file) =>
        Assert.Empty(PlanReader.Read(File.ReadAllText(Path.Combine(Samples, file)), file).Problems);

    [Fact]
    public void The_control_is_the_demo_with_shuffled_labels()
    {
        var (demo, control) = (Read("demo.yaml"), Read("demo-shuffled.yaml"));

        Assert.All(control.Clients, static client => Assert.True(client.Data.ShuffleLabels));
        Assert.Equal(demo.Clients,
            control.Clients.Select(static client => client with { Data = client.Data with { ShuffleLabels = false } }));
        Assert.Equal(demo.Training, control.Training);
    }

    [Fact]
    public void Test_rows_are_many_balanced_and_never_trained_on()
    {
        var rows = 0;
        foreach (var task in Labelled)
        {
            var (train, test) = (Rows(task, "train"), Rows(task, "test"));
            rows += test.Count;
            Assert.Empty(train.Select(static row => row.Prompt).Intersect(test.Select(static row => row.Prompt)));
            var counts = test.GroupBy(static row => row.Label).Select(static group => group.Count()).ToList();
            Assert.Equal(counts.Max(), counts.Min());
        }

        Assert.True(rows >= 2000, $"{rows} test rows");
    }

    /// <summary>No single word, present or absent, tells the label: at most 15 points above chance, fitted on train.</summary>
    [Fact]
    public void No_word_and_no_length_gives_a_label_away()
    {
        foreach (var task in Labelled)
        {
            var (train, test) = (Rows(task, "train"), Rows(task, "test"));
            var chance = 1.0 / test.Select(static row => row.Label).Distinct().Count();
            var words = train.SelectMany(static row => row.Prompt.Split(' ')).Distinct(StringComparer.Ordinal);
            var best = words.Select(word => (Func<(string Prompt, string Label), int>)(row => row.Prompt.Split(' ').Contains(word) ? 1 : 0))
                .MaxBy(feature => Accuracy(train, train, feature))!;
            Assert.True(Accuracy(train, test, best) <= chance + 0.15, $"{task}: a word reaches {Accuracy(train, test, best)}");
            Assert.True(Accuracy(train, test, static row => row.Prompt.Length) <= chance + 0.15, task);
        }
    }

    private static double Accuracy(
        List<(string Prompt, string Label)> train, List<(string Prompt, string Label)> test,
        Func<(string Prompt, string Label), int> feature)
    {
        var answers = train.GroupBy(feature).ToDictionary(static group => group.Key,
            static group => group.GroupBy(static row => row.Label).MaxBy(static label => label.Count())!.Key);
        return test.Average(row => answers.GetValueOrDefault(feature(row)) == row.Label ? 1.0 : 0);
    }

    private static FederationPlan Read(string file) => PlanReader.Require(File.ReadAllText(Path.Combine(Samples, file)), file);

    private static List<(string Prompt, string Label)> Rows(string task, string split) =>
        [.. File.ReadLines(Path.Combine(Samples, "tasks", task, $"{split}.jsonl"))
            .Select(static line => JsonDocument.Parse(line).RootElement)
            .Select(static row => (row.GetProperty("prompt").GetString()!, row.GetProperty("label").GetString()!))];
}
