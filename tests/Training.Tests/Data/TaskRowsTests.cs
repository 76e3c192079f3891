using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Training.Data;

namespace FedRLora.Training.Tests.Data;

/// <summary>A task's labels and rows are those of its whole files at a site, whoever asks.</summary>
public sealed class TaskRowsTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task Labels_are_those_of_whole_files_of_all_clients_of_the_task_at_the_site()
    {
        var plan = Plan(
            Client("a", Write("a", ("p", "yes"), ("q", "no")), test: null, rows: 1),
            Client("b", Write("b", ("p", "maybe")), Write("bt", ("p", "never"))),
            Client("far", Write("far", ("p", "far")), test: null) with { Site = "other" },
            Client("else", Write("else", ("p", "else")), test: null) with { Task = "other" });

        Assert.Equal(["maybe", "never", "no", "yes"], (await RowsAsync(plan)).Labels.Names);
    }

    [Fact]
    public async Task Declared_labels_count_with_the_answers_that_rows_give_them()
    {
        var plan = Plan(Client("a", Write("a", ("p", "yes")), test: null)) with
        {
            Tasks = new Dictionary<string, TaskSpec> { ["t"] = new() { Labels = [new("no", []), new("yes", []), new("odd", ["x", "y"])] } },
        };

        var labels = (await RowsAsync(plan)).Labels;

        Assert.Equal(["no", "x", "y", "yes."], labels.Answers);
        Assert.Equal(["no", "odd", "odd", "yes"], labels.LabelOf.Select(label => labels.Names[label]));
    }

    [Fact]
    public async Task A_file_that_cannot_be_read_counts_for_nothing() =>
        Assert.Equal(["yes"],
            (await RowsAsync(Plan(Client("a", Write("a", ("p", "yes")), test: null), Client("b", "gone.jsonl", test: null)))).Labels.Names);

    [Fact]
    public async Task Labels_of_one_client_alone_are_counted()
    {
        var plan = Plan(Client("a", Write("a", ("p", "yes"), ("q", "no")), test: null), Client("b", Write("b", ("p", "no")), test: null));
        var rows = await RowsAsync(plan);

        Assert.Equal((1, 0), (rows.OwnLabels(plan.Clients[0]), rows.OwnLabels(plan.Clients[1])));
        Assert.Equal(0, (await RowsAsync(Plan(plan.Clients[0]))).OwnLabels(plan.Clients[0]));
    }

    [Fact]
    public async Task Test_rows_that_were_trained_on_are_counted_by_who_did()
    {
        // The second row of a is outside of what it takes; blanks at the ends make no other row.
        var plan = Plan(
            Client("a", Write("a", ("p", "yes"), ("q", "no")), test: null, rows: 1),
            Client("b", Write("b", ("r", "yes"), ("p", "yes")), test: null, rows: 1));
        var test = await JsonLines.ReadAsync(Write("test", ("p ", "yes"), ("q", "no"), ("r", "yes"), ("p", "no")), 0, null, default);

        Assert.Equal(
            [new() { Kind = DataNoteKind.TrainedOn, Count = 1, Of = 4 }, new() { Kind = DataNoteKind.TrainedOnByTask, Count = 1, Of = 4 }],
            (await RowsAsync(plan)).TrainedOn(plan.Clients[0], test));
    }

    private async Task<TaskRows> RowsAsync(FederationPlan plan) =>
        await TaskRows.OfAsync(plan, plan.Clients[0], _folder.File, static path => FileRows.ReadAsync(path, default));

    private static FederationPlan Plan(params IReadOnlyList<ClientSpec> clients) =>
        new() { Name = "n", Model = new() { Path = "m" }, Clients = clients };

    private static ClientSpec Client(string id, string train, string? test, int? rows = null) =>
        new() { Id = id, Task = "t", Data = new() { Train = train, Test = test, Rows = rows } };

    private string Write(string name, params IEnumerable<(string Prompt, string Label)> rows)
    {
        var path = _folder.File($"{name}.jsonl");
        File.WriteAllLines(path,
            rows.Select(static row => $$"""{"prompt": "{{row.Prompt}}", "completion": "{{row.Label}}.", "label": "{{row.Label}}"}"""));
        return path;
    }
}
