using System.Globalization;
using Xunit.Abstractions;

namespace FedRLora.EndToEnd.Tests.Pages;

/// <summary>The commands of the pages, typed as they stand in the order in which a reader comes to them.</summary>
public sealed class PageRunTests(ITestOutputHelper log)
{
    private static readonly string Clusters = Path.Combine("docs", "clusters.md");
    private static readonly string Stores = Path.Combine("docs", "stores.md");
    private static readonly string[] OfAzurite = ["azurite", "devstoreaccount1", "FEDRLORA_STORE_CONNECTION_STRING"];

    [Fact]
    public async Task Every_command_that_needs_no_server_of_others_does_what_its_page_says()
    {
        var readmeFirst = Page.All.OrderBy(static page => page.Name != "README.md");

        await RunAsync(
        [
            .. readmeFirst.SelectMany(static page => page.Commands)
                .Where(static command => !NeedsRedis(command) && !NeedsAzurite(command)),
        ]);
    }

    [RedisFact]
    public async Task Every_command_of_the_page_on_clusters_does_what_it_says() =>
        await RunAsync([.. Page.All.SelectMany(static page => page.Commands).Where(NeedsRedis)]);

    [AzuriteBlobFact]
    public async Task Every_command_of_the_page_on_stores_that_needs_Azurite_does_what_it_says() =>
        await RunAsync([.. Page.All.SelectMany(static page => page.Commands).Where(NeedsAzurite)]);

    [Theory]
    [InlineData("./fedrlora validate notes.yaml --strictly", "", "unknown option '--strictly'")]
    [InlineData("./fedrlora validate other.yaml", "", "ended with 2")]
    [InlineData("./fedrlora methods", "prints \"digest: ...\"", "'digest: ' was promised")]
    [InlineData("./fedrlora methods", "prints the same digest", "the digest is missing")]
    [InlineData("./fedrlora silo --site x --store notes.yaml", "", "does not serve")]
    [InlineData("no-such-program", "", "ended with 127")]
    public async Task A_command_that_does_not_do_what_its_page_says_is_found(string text, string comment, string problem)
    {
        await using var session = new PageSession();

        await session.RunAsync(new PageCommand("page.md", 1, text, comment));

        Assert.Contains(problem, Assert.Single(session.Outcomes).Problem, StringComparison.Ordinal);
    }

    private static bool NeedsRedis(PageCommand command) => command.Page == Clusters;

    private static bool NeedsAzurite(PageCommand command) => command.Page == Stores && OfAzurite.Any(command.Text.Contains);

    private async Task RunAsync(IReadOnlyList<PageCommand> commands)
    {
        await using var session = new PageSession();
        foreach (var command in commands)
        {
            if (NotRun.Reason(command) is { } reason) log.WriteLine($"{command}: not run: {reason}");
            else await session.RunAsync(command);
        }

        var problems = await session.EndServersAsync();
        foreach (var (command, problem, seconds) in session.Outcomes)
            log.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{command}: {seconds:F1} s{(problem is null ? "" : ", FAILED")}"));
        Assert.NotEmpty(session.Outcomes);
        string[] failed =
        [
            .. session.Outcomes.Where(static outcome => outcome.Problem is not null)
                .Select(static outcome => $"{outcome.Command}: {outcome.Problem}"),
            .. problems,
        ];
        Assert.True(failed.Length == 0, string.Join('\n', failed));
    }
}

/// <summary>A test that needs Azurite where the page on stores starts it.</summary>
[AttributeUsage(AttributeTargets.Method)]
internal sealed class AzuriteBlobFactAttribute : FactAttribute
{
    public AzuriteBlobFactAttribute()
    {
        if (!File.Exists(Path.Combine(Repository.Root, "tests", "azurite", "node_modules", ".bin", "azurite-blob")))
            Skip = "azurite is not installed: run npm ci in tests/azurite (Node.js is needed)";
    }
}
