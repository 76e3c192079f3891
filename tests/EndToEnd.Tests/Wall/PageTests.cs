using System.Globalization;
using System.Text;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Ports;

namespace FedRLora.EndToEnd.Tests.Wall;

/// <summary>The page in a browser, at a silo whose rounds come when a test says so.</summary>
[Collection(BrowserTests.Name)]
public class PageTests(Browser browser)
{
    private const string Run = "shown", Markup = "<img src=x onerror=alert(1)>";

    [BrowserFact]
    public async Task Eight_tabs_share_one_stream_and_all_hear_every_round()
    {
        await using var silo = await WallSilo.StartAsync();
        await silo.SubmitAsync(Run, Plan(rounds: 5), last: 1);
        await silo.CommittedAsync(Run, 1);

        var tabs = await browser.BeginAsync("tabs", new { entrance = silo.Entrance, run = Run });
        await tabs.SaysAsync("eight tabs");
        await LetAsync(2);
        await tabs.SaysAsync("seven tabs");
        await LetAsync(3);
        await tabs.SaysAsync("cut");
        await LetAsync(4); // while the server is away for them

        await tabs.DoneAsync();

        async Task LetAsync(int round)
        {
            silo.Let(round);
            await silo.CommittedAsync(Run, round);
            await tabs.TellAsync("go on");
        }
    }

    [BrowserFact]
    public async Task Reasons_that_would_be_markup_are_text() // names are names: a plan with others is refused
    {
        await using var silo = await WallSilo.StartAsync();
        silo.Trainer.Afterwards = static (group, result) => group.Round == 2 && result.ClientId == "c1"
            ? new TrainingResult { ClientId = result.ClientId, Failure = $"rows of {Markup} and \"><script>alert(1)</script>" }
            : result;
        await silo.SubmitAsync(Run, Plan(rounds: 2));
        await silo.CommittedAsync(Run, 2);

        await browser.RunAsync("hostile", new
        {
            entrance = silo.Entrance, run = Run, round = 2, texts = new[] { Markup, "\"><script>alert(1)</script>" },
        });
    }

    [BrowserFact]
    public async Task It_is_readable_in_light_and_dark_and_on_a_phone_and_keys_reach_what_steers()
    {
        await using var silo = await WallSilo.StartAsync();
        await silo.SubmitAsync(Run, Plan(rounds: 4, clients: 12), last: 3);
        await silo.CommittedAsync(Run, 3);

        await browser.RunAsync("looks", new
        {
            entrances = new[] { silo.Entrance, silo.Entrance, silo.Entrance }, run = Run, round = 3,
        });

        Assert.Equal(JobStatus.Running, await silo.StatusAsync(Run)); // Esc has paused nothing
    }

    [BrowserFact]
    public async Task It_says_what_is_not_there()
    {
        await using var silo = await WallSilo.StartAsync();
        silo.Trainer.Afterwards = static (group, result) => result.ClientId == "c2"
            ? result with { Numbers = result.Numbers with { MeanLoss = double.NaN, LastLoss = double.NaN } }
            : result;

        var missing = await browser.BeginAsync("missing", new { entrance = silo.Entrance, run = Run, client = "c2" });
        await missing.SaysAsync("empty");
        await silo.SubmitAsync(Run, Plan(rounds: 2), last: 0);
        await missing.TellAsync("begun");
        await missing.SaysAsync("round 0");
        silo.Let(2);
        await silo.CommittedAsync(Run, 2);
        await missing.TellAsync("two rounds");

        await missing.DoneAsync();
    }

    private static string Plan(int rounds, int clients = 4)
    {
        var yaml = new StringBuilder(string.Create(CultureInfo.InvariantCulture, $"name: {Run}\nmodel: none\nadapter: fedsa-lora\n"
            + $"strategy: {{rounds: {rounds}, quorum: 0.5}}\ncheckpoints: {{export: false}}\nclients:\n"));
        for (var i = 0; i < clients; i++)
            yaml.Append(CultureInfo.InvariantCulture, $"  - {{id: c{i}, task: t{i % 2}, site: s{i % 3}, data: {{train: a, test: b}}}}\n");
        return yaml.ToString();
    }
}
