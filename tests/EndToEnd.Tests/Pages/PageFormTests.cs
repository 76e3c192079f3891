using System.Text.RegularExpressions;
using FedRLora.Abstractions.Plans;
using FedRLora.ControlPlane;
using FedRLora.Silo;
using FedRLora.Silo.Storage;

namespace FedRLora.EndToEnd.Tests.Pages;

/// <summary>What the pages say of the program, held to the program, without running it.</summary>
public sealed partial class PageFormTests
{
    /// <summary>Options of the benchmarks, which pages name beside the program's.</summary>
    private static readonly string[] OfBenchmarks = ["--device", "--runs"];

    public static TheoryData<string> Pages => [.. Page.All.Select(static page => page.Name)];

    private static IEnumerable<PageCommand> Commands => Page.All.SelectMany(static page => page.Commands);

    [Theory]
    [MemberData(nameof(Pages))]
    public void Commands_and_options_of_a_page_are_those_of_the_program(string name) => None(Faults(Of(name)));

    [Fact]
    public void Pages_are_found()
    {
        Assert.Contains("README.md", Page.All.Select(static page => page.Name));
        Assert.Contains(Path.Combine("docs", "decisions", "0004-one-program.md"), Page.All.Select(static page => page.Name));
        Assert.True(Commands.Count() > 40, "commands are not found in the pages");
    }

    [Fact]
    public void Every_exception_is_a_command_of_some_page() =>
        Assert.All(NotRun.Commands, static entry =>
            Assert.Contains(Commands, command => command.Text.StartsWith(entry.Start, StringComparison.Ordinal)));

    [Fact]
    public void The_table_of_commands_has_every_command_with_options_that_it_takes() => None(TableFaults(Of("README.md")));

    [Theory]
    [InlineData("simulate plan.yaml", "`--sneed`", "simulate: no such option --sneed")]
    [InlineData("extend runs/NAME-N", "", "'--rounds' is required")]
    [InlineData("doctor", "", "is not in the table: simulate")]
    public void A_fault_of_the_table_of_commands_is_found(string command, string does, string fault) =>
        Assert.Contains(TableFaults(new Page("page.md", $"| command | does |\n| --- | --- |\n| `{command}` | {does} |\n")),
            found => found.Contains(fault, StringComparison.Ordinal));

    [Fact]
    public void What_is_not_run_is_there_all_the_same()
    {
        var makefile = Repository.Read("Makefile");
        foreach (var command in Commands.Where(static command => NotRun.Reason(command) is not null))
        {
            if (command.Text.Split(' ') is ["make", var target, ..])
                Assert.True(Regex.IsMatch(makefile, $@"^{Regex.Escape(target)}:", RegexOptions.Multiline), $"{command}: no such target");
            if (Project().Match(command.Text) is { Success: true } project)
                Assert.True(Path.Exists(Path.Combine(Repository.Root, project.Value)), $"{command}: no such project");
        }
    }

    [Fact]
    public void The_demo_of_the_Makefile_is_a_valid_plan()
    {
        var plan = Assert.Single(DemoPlan().Matches(Repository.Read("Makefile"))).Groups[1].Value;

        Assert.Empty(PlanReader.Read(Repository.Read(plan), plan).Problems);
    }

    [Fact]
    public void The_ports_of_the_README_are_the_programs_own() =>
        Assert.Contains(
            $"listens on port {SiloPorts.Silo} for silos and on {ControlOptions.DefaultPort} for", Of("README.md").Text,
            StringComparison.Ordinal);

    [Fact]
    public void The_connection_string_of_the_page_on_stores_is_for_the_URL_beside_it() =>
        Assert.False(StoreLocation.Parse(StoreRole.Job, "http://127.0.0.1:10000/devstoreaccount1/runs",
            static variable => variable == "FEDRLORA_STORE_CONNECTION_STRING" ? "UseDevelopmentStorage=true" : null).IsFolder);

    [Theory]
    [MemberData(nameof(Pages))]
    public void Plans_and_parts_of_plans_in_a_page_are_valid(string name) => None(PlanProblems(Of(name)));

    [Fact]
    public void Values_that_the_plan_of_the_README_has_as_comments_are_keys_of_a_plan()
    {
        var lines = PageSession.NotesPlan().Split('\n');
        var commented = Enumerable.Range(0, lines.Length).Where(i => CommentedKey().IsMatch(lines[i])).ToList();

        Assert.True(commented.Count > 15, "commented values are not found");
        var problems = commented.SelectMany(i => PlanReader.Read(Uncommented(lines, i), "notes.yaml").Problems)
            .Select(static problem => problem.ToString()!);
        Assert.DoesNotContain(problems, static problem => problem.Contains("nknown", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("```sh\n./fedrlora simulate plan.yaml --outt here\n```", "simulate has no option --outt")]
    [InlineData("`fedrlora watsch RUN`", "there is no command watsch")]
    [InlineData("`export --vlm`", "export has no option --vlm")]
    [InlineData("with `--no-such-option`", "no command has the option --no-such-option")]
    [InlineData("```\n./fedrlora doctor\n```", "the block says ''")]
    [InlineData("```text\n./fedrlora doctor\n```", "outside of a block that says sh")]
    [InlineData("```sh\n./fedrlora doctor\n", "without an end")]
    [InlineData("text\n\n    ./fedrlora doctor", "an indented block")]
    public void A_fault_of_a_page_is_found(string text, string fault) =>
        Assert.Contains(Faults(new Page("page.md", text)), found => found.Contains(fault, StringComparison.Ordinal));

    [Fact]
    public void Faults_of_plans_in_a_page_are_found()
    {
        var part = new Page("page.md", "```yaml\nstrategy: {quorums: 1}\n```");
        var whole = new Page("page.md", "```yaml\nname: x\nmodel: m\nclients: []\n```");

        Assert.Contains(PlanProblems(part), static problem => problem.Contains("quorums", StringComparison.Ordinal));
        Assert.Contains(PlanProblems(whole), static problem => problem.Contains("clients", StringComparison.Ordinal));
    }

    private static Page Of(string name) => Page.All.Single(page => page.Name == name);

    private static List<string> Faults(Page page) =>
    [
        .. page.Problems,
        .. page.Commands.Where(static command => command.Text.StartsWith("./fedrlora ", StringComparison.Ordinal))
            .SelectMany(static command => FaultOf($"{command}", command.Text.Split(" & ")[0])),
        .. page.Spans.SelectMany(static span => FaultOf($"{span}", span.Text)),
        .. page.Spans.Where(static span => span.Text.StartsWith("--", StringComparison.Ordinal))
            .SelectMany(static span => ProgramShape.OptionsIn(span.Text)
            .Where(static option => !ProgramShape.Options.Contains(option) && !OfBenchmarks.Contains(option))
            .Select(option => $"{span}: no command has the option {option}")),
    ];

    private static string[] FaultOf(string place, string text) =>
        ProgramShape.Words(text) is { } words && ProgramShape.Problem(words) is { } fault ? [$"{place}: {fault}"] : [];

    private static List<string> TableFaults(Page page)
    {
        var rows = Rows(page);
        var named = rows.SelectMany(static row => row.Commands).ToList();
        return
        [
            .. ProgramShape.Commands.Keys.Except(named.Select(static words => words[0]))
                .Select(static command => $"is not in the table: {command}"),
            .. named.Select(static words => words.Length > 1 ? ProgramShape.ParseProblem(words) : ProgramShape.Problem(words))
                .OfType<string>(),
            .. rows.SelectMany(static row => row.Options
                .Where(option => !row.Commands.Exists(words => ProgramShape.Problem([words[0], option]) is null))
                .Select(option => $"{string.Join(", ", row.Commands.Select(static words => words[0]))}: no such option {option}")),
        ];
    }

    private static List<(List<string[]> Commands, List<string> Options)> Rows(Page page)
    {
        var lines = page.Text.Split('\n');
        var first = Array.IndexOf(lines, "| command | does |") + 2;
        return
        [
            .. lines[first..].TakeWhile(static line => line.StartsWith('|')).Select(static line => line.Split(" | "))
                .Select(static cells => (
                CodeIn(cells[0]).Select(static span => span.Split(' ')).ToList(),
                CodeIn(cells[1]).SelectMany(ProgramShape.OptionsIn).ToList())),
        ];
    }

    private static void None(List<string> faults) => Assert.True(faults.Count == 0, string.Join('\n', faults));

    private static IEnumerable<string> CodeIn(string cell) => Code().Matches(cell).Select(static span => span.Groups[1].Value);

    /// <summary>A block is a plan, or sections of one that are put into a plan of a hundred clients, of the tasks that it names.</summary>
    private static List<string> PlanProblems(Page page) =>
    [
        .. page.Blocks.Where(static block => block.Language == "yaml")
            .SelectMany(static block => PlanReader.Read(Whole(block.Text), block.ToString()).Problems)
            .Select(static problem => problem.ToString()!),
    ];

    private static string Whole(string yaml) => yaml.StartsWith("name:", StringComparison.Ordinal)
        ? yaml
        : yaml + "name: part\nmodel: model\nclients:\n"
            + string.Concat(Enumerable.Range(1, 100)
                .Select(i => $"  - {{id: c{i}, task: {TaskOf(yaml, i)}, data: {{train: rows.jsonl}}}}\n"));

    private static string TaskOf(string yaml, int client)
    {
        var tasks = NamedTask().Matches(yaml).Select(static match => match.Groups[1].Value).ToList();
        return client <= tasks.Count ? tasks[client - 1] : "t";
    }

    private static string Uncommented(string[] lines, int at) =>
        string.Join('\n', lines.Select((line, i) => i == at ? CommentedKey().Replace(line, "$1$2") : line));

    [GeneratedRegex(@"(?m)^  ([a-z]+):\n    labels:")]
    private static partial Regex NamedTask();

    [GeneratedRegex(@"^( *)# ([a-z][A-Za-z]*: [^,#]*)(?= |$).*$")]
    private static partial Regex CommentedKey();

    [GeneratedRegex(@"(?<=--project |dotnet publish |dotnet test |dotnet run (?=eng))\S+")]
    private static partial Regex Project();

    [GeneratedRegex(@"^demo:\n\t\./fedrlora simulate (\S+) --dashboard$", RegexOptions.Multiline)]
    private static partial Regex DemoPlan();

    [GeneratedRegex(@"`([^`]+)`")]
    private static partial Regex Code();
}
