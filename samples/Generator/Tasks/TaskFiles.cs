using System.Text.Json;
using System.Text.Json.Serialization;
using FedRLora.Generator.Measures;
using FedRLora.Generator.Text;

namespace FedRLora.Generator.Tasks;

/// <summary>One line of a task file.</summary>
internal sealed record Row
{
    public required string Id { get; init; }
    public required string Task { get; init; }
    public required string Prompt { get; init; }
    public required string Completion { get; init; }
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Label { get; init; }
}

/// <summary>Writes and reads <c>samples/tasks</c>.</summary>
internal static class TaskFiles
{
    public const int TrainRows = 600;
    public const int TestRows = 500;

    private static readonly JsonSerializerOptions Line = new() { PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower };
    private static readonly JsonSerializerOptions Page = new(Line) { WriteIndented = true };

    public static void Write(string folder)
    {
        foreach (var task in SampleTask.All)
        {
            var asked = new HashSet<string>();
            Directory.CreateDirectory(Path.Combine(folder, task.Name));
            WriteLines(FileOf(folder, task.Name, "test"), Rows(task, "test", TestRows, asked));
            WriteLines(FileOf(folder, task.Name, "train"), Rows(task, "train", TrainRows, asked));
        }
        var page = JsonSerializer.Serialize(SampleTask.All.ToDictionary(t => t.Name, t => Describe(folder, t)), Page);
        File.WriteAllText(Path.Combine(folder, "tasks.json"), page + "\n");
    }

    public static IReadOnlyList<Row> Read(string folder, string task, string split) =>
        [.. File.ReadLines(FileOf(folder, task, split)).Select(line => JsonSerializer.Deserialize<Row>(line, Line)!)];

    /// <summary>Labels come in shuffled blocks of one each, so that every slice of a file is balanced.</summary>
    private static IEnumerable<Row> Rows(SampleTask task, string split, int count, HashSet<string> asked)
    {
        var dice = new Dice($"tasks/{task.Name}/{split}");
        var labels = Enumerable.Range(0, Math.Max(1, task.Labels.Count)).ToArray();
        var block = new Queue<int>();
        for (var i = 0; i < count; i++)
        {
            if (block.Count == 0)
                block = new(dice.Shuffle(labels));
            var label = block.Dequeue();
            var question = task.Ask(dice, label);
            while (!asked.Add(question.Prompt))
                question = task.Ask(dice, label);
            yield return new()
            {
                Id = $"{task.Name}-{split}-{i}", Task = task.Name, Prompt = question.Prompt, Completion = question.Completion,
                Label = question.Label,
            };
        }
    }

    private static object Describe(string folder, SampleTask task) => new
    {
        task.Description,
        Type = task.Labels.Count > 0 ? "classification" : "extraction",
        Metric = task.Labels.Count > 0 ? "accuracy" : "exactMatch",
        task.Labels,
        Rows = new { Train = TrainRows, Test = TestRows },
        BaselinesOnTest = Baselines.Of(Read(folder, task.Name, "train"), Read(folder, task.Name, "test")),
    };

    private static void WriteLines(string path, IEnumerable<Row> rows) =>
        File.WriteAllText(path, string.Concat(rows.Select(row => JsonSerializer.Serialize(row, Line) + "\n")));

    private static string FileOf(string folder, string task, string split) => Path.Combine(folder, task, $"{split}.jsonl");
}
