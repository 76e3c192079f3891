using System.Text.RegularExpressions;
using FedRLora.Abstractions.Plans;

namespace FedRLora.EndToEnd.Tests.Pages;

/// <summary>The pages in docs/plan, one for each section of a plan, held to the reader.</summary>
public sealed partial class PlanPageTests
{
    private const string Folder = "docs/plan/";
    private const string Header = "| key | value | default | what it is |";

    /// <summary>Where the keys of a page stand in a plan; those of any other page stand in the section of its name.</summary>
    private static readonly Dictionary<string, string> Sections = new(StringComparer.Ordinal)
    {
        ["README"] = "", ["clients"] = "clients[]", ["faults"] = "faults[]", ["aggregation"] = "strategy.aggregation",
    };

    public static TheoryData<string> Keys => [.. PlanShape.Keys];

    private static IReadOnlyList<Row> Rows { get; } = [.. Page.All.SelectMany(RowsOf)];

    [Fact]
    public void Every_key_that_the_reader_knows_is_on_one_page_and_no_other()
    {
        Assert.Contains("strategy.selection.rule", PlanShape.Keys);
        Assert.Contains("clients[].data.train", PlanShape.Keys);
        Assert.Contains("tasks.NAME.labels", PlanShape.Keys);
        Assert.Equal(PlanShape.Keys.Order(StringComparer.Ordinal), Rows.Select(static row => row.Path).Order(StringComparer.Ordinal));
    }

    [Theory]
    [MemberData(nameof(Keys))]
    public void The_form_of_a_value_is_that_which_the_reader_asks_for(string key)
    {
        if (PlanShape.IsSection(key) || PlanShape.Wanted(key) is not { } wanted) return;
        Assert.Equal(wanted, RowOf(key).Value.Replace("`", "", StringComparison.Ordinal));
    }

    [Theory]
    [MemberData(nameof(Keys))]
    public void A_default_is_what_a_plan_without_the_key_is_read_as(string key)
    {
        var row = RowOf(key);
        Assert.Equal(PlanShape.IsRequired(key), row.Default == "required");
        if (Quoted().Match(row.Default) is not { Success: true } quoted) return;
        var without = PlanShape.Read(key, null);
        Assert.StartsWith("{", without, StringComparison.Ordinal);
        Assert.Equal(without, PlanShape.Read(key, quoted.Groups[1].Value));
    }

    [Fact]
    public void The_table_of_rules_has_every_rule_of_aggregation_with_its_parameters()
    {
        var text = Page.All.Single(static page => page.Name == "docs/strategies.md").Text;
        var rows = text.Split('\n').Select(static line => RuleRow().Match(line)).Where(static row => row.Success)
            .Select(
                static row => Shown(row.Groups[1].Value, Code().Matches(row.Groups[2].Value).Select(static span => span.Groups[1].Value)));

        // perTask is explained below the table, for all rules but the mean.
        Assert.Equal(
            StrategyNames.Aggregations.Select(static rule => Shown(rule.Key, rule.Value.Parameters.Where(static key => key != "perTask"))),
            rows.Order(StringComparer.Ordinal));
    }

    [Fact]
    public void Every_parameter_of_a_rule_is_a_key_of_its_section() =>
        Assert.Equal(
            PlanShape.Keys.Where(static key => key.StartsWith("strategy.aggregation.", StringComparison.Ordinal)).Order(),
            StrategyNames.Aggregations.Values.SelectMany(static rule => rule.Parameters).Append("rule").Distinct()
                .Select(static key => $"strategy.aggregation.{key}").Order());

    [Fact]
    public void Every_page_is_in_the_table_of_sections()
    {
        var index = Page.All.Single(static page => page.Name == $"{Folder}README.md").Text;

        Assert.All(
            Page.All.Select(static page => page.Name)
                .Where(static name => name.StartsWith(Folder, StringComparison.Ordinal) && name != $"{Folder}README.md"),
            name => Assert.Contains($"({name[Folder.Length..]})", index, StringComparison.Ordinal));
    }

    private static string Shown(string rule, IEnumerable<string> parameters) => $"{rule}: {string.Join(", ", parameters)}";

    private static Row RowOf(string key) => Rows.Single(row => row.Path == key);

    private static IEnumerable<Row> RowsOf(Page page)
    {
        if (!page.Name.StartsWith(Folder, StringComparison.Ordinal)) return [];
        var name = Path.GetFileNameWithoutExtension(page.Name);
        var section = Sections.GetValueOrDefault(name, name);
        var lines = page.Text.Split('\n');
        return lines.Index().Where(static line => line.Item == Header)
            .SelectMany(table => lines[(table.Index + 2)..].TakeWhile(static line => line.StartsWith('|')))
            .Select(static line => line.Trim('|', ' ').Split(" | "))
            .SelectMany(cells => cells[0].Split(", ").Select(static key => key.Trim('`'))
                .Select(key => new Row(section.Length == 0 ? key : $"{section}.{key}", cells[1], cells[2])));
    }

    private sealed record Row(string Path, string Value, string Default);

    [GeneratedRegex("^`([^`]+)`$")]
    private static partial Regex Quoted();

    [GeneratedRegex(@"^\| `(\w+)` \| [^|\\]*(?:\\\|[^|\\]*)* \| ([^|]*) \| [^|]* \| (?:yes|no) \|")]
    private static partial Regex RuleRow();

    [GeneratedRegex(@"`(\w+)`")]
    private static partial Regex Code();
}
