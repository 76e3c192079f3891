using FedRLora.Abstractions;
using FedRLora.Abstractions.Grains;
using FedRLora.Abstractions.Messages;
using Microsoft.Extensions.DependencyInjection;
using Orleans;
using Orleans.Serialization;

namespace FedRLora.Grains.Tests.Messages;

/// <summary>The messages between a coordinator and its sites: silos of versions one apart understand one another.</summary>
public sealed class SiteMessageTests
{
    private static readonly string Page = Path.Combine(Repository, "docs", "site-messages.md");
    private static readonly string Recorded = Path.Combine(Repository, "tests", "Grains.Tests", "Messages", "recorded");

    private static readonly ServiceProvider Services = new ServiceCollection().AddSerializer().BuildServiceProvider();

    // a new version is recorded with FEDRLORA_RECORD=1, and what it changed is seen in the difference
    private static readonly bool Records = Environment.GetEnvironmentVariable("FEDRLORA_RECORD") == "1";

    private static readonly BlobRef Blob = new("jobs/j/plan.yaml", new string('a', 64), 7);

    private static readonly SiteAssignment Assignment = new()
    {
        JobId = "j", Round = 3, Attempt = 1, Phase = RoundPhase.Evaluate, Plan = Blob, Shared = Blob with { SizeBytes = 9 },
        Members = [new() { ClientId = "c", Head = Blob, Optimizer = null, HeadBefore = 2 }], Pending = ["c"], Concurrent = true,
        Inputs = Blob, Engine = "engine", GroupSize = 4, Tasks = new Dictionary<string, BlobRef> { ["t"] = Blob },
        TraceParent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", TracedUpTo = 17, Protocol = 1,
    };

    private static readonly SiteReport Report = new()
    {
        Site = "s", Protocol = 1,
        Clients =
        [
            new()
            {
                Round = 3, Attempt = 1, Phase = RoundPhase.Train, ClientId = "c", Failure = "why", Update = Blob, Head = Blob,
                StoreTrouble = "away",
            },
        ],
    };

    private static readonly SiteConfirmation Confirmation = new()
    {
        Round = 3, Attempt = 1,
        Clients =
        [
            new()
            {
                ClientId = "c", Round = 2, Attempt = 0, Update = new(new('b', 64), 1), Head = new(new('c', 64), 2),
                Optimizer = new(new('d', 64), 3),
            },
        ],
    };

    private static string Repository
    {
        get
        {
            var folder = AppContext.BaseDirectory;
            while (!File.Exists(Path.Combine(folder, "FedRLora.sln"))) folder = Path.GetDirectoryName(folder)!;
            return folder;
        }
    }

    [Fact]
    public void The_page_lists_every_call_and_every_field_of_this_version()
    {
        var page = File.ReadAllText(Page);
        var listed = page.Split("```text\n")[1].Split("```")[0];
        if (Records) File.WriteAllText(Page, page.Replace($"\n{listed}```", $"\n{MessageShape.Text()}```", StringComparison.Ordinal));

        Assert.Contains($"version {SiteProtocol.Version} ", page, StringComparison.Ordinal);
        Assert.Equal(MessageShape.Text(), listed); // another shape is another version, unless a field was only added: see the page
    }

    [Fact]
    public void Every_field_of_every_message_has_a_number_of_its_own() => Assert.All(
        MessageShape.Types.Where(static type => !type.IsEnum), static type =>
        {
            var numbers = type.GetProperties().SelectMany(static property => property.GetCustomAttributes(typeof(IdAttribute), false))
                .Select(static id => ((IdAttribute)id).Id).ToList();
            Assert.NotEmpty(numbers);
            Assert.Equal(numbers.Distinct(), numbers);
        });

    // Made by this version when it was the newest; what comes later has to read them for as long as it works with that one.
    [Fact]
    public void Messages_that_version_1_wrote_are_read()
    {
        AssertRead("site-assignment", Assignment);
        AssertRead("site-report", Report);
        AssertRead("site-confirmation", Confirmation);
    }

    [Fact]
    public void A_field_of_a_later_version_is_skipped_and_one_that_is_missing_has_its_default()
    {
        var later = new LaterReport { Site = "s", Clients = [], Protocol = 2, More = ["new"], Last = 5 };
        var read = Services.GetRequiredService<Serializer<SiteReport>>()
            .Deserialize(Services.GetRequiredService<Serializer<LaterReport>>().SerializeToArray(later))!;
        Assert.Equal(("s", 2), (read.Site, read.Protocol));

        var earlier = Services.GetRequiredService<Serializer<SiteReport>>()
            .Deserialize(Services.GetRequiredService<Serializer<EarlierReport>>().SerializeToArray(new() { Site = "s", Clients = [] }))!;
        Assert.Equal(0, earlier.Protocol);
    }

    [Theory]
    [InlineData(0, true)] // from before there was a number
    [InlineData(SiteProtocol.Version, true)]
    [InlineData(SiteProtocol.Version + 1, true)]
    [InlineData(SiteProtocol.Version + 2, false)]
    [InlineData(-1, false)]
    public void Versions_one_apart_work_together(int version, bool works)
    {
        var refusal = SiteProtocol.Refusal("Site north", version);

        Assert.Equal(works, refusal is null);
        if (works) return;
        Assert.StartsWith($"Site north speaks version {version} of the messages", refusal, StringComparison.Ordinal);
        Assert.Contains($"this silo version {SiteProtocol.Version}", refusal, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Work_and_reports_of_a_version_two_apart_are_refused_by_name()
    {
        await using var federation = await TestFederation.StartAsync();
        await federation.RunAsync("job", TestFederation.Plan(clients: 2, rounds: 1), new CancellationTokenSource(60_000).Token);
        var site = federation.Cluster.Client.GetGrain<ISiteGrain>(Keys.Site("job", "local"));

        var work = await Assert.ThrowsAsync<BadInputException>(
            () => site.AcceptAsync(Assignment with { JobId = "job", Protocol = SiteProtocol.Version + 2 }));
        var report = await Assert.ThrowsAsync<BadInputException>(
            () => federation.Reporting("job").ReportAsync(Report with { Protocol = SiteProtocol.Version + 2 }));

        Assert.StartsWith("Site local: The coordinator of run job speaks version 3 ", work.Message, StringComparison.Ordinal);
        Assert.StartsWith("Run job: Site s speaks version 3 ", report.Message, StringComparison.Ordinal);
    }

    private static void AssertRead<T>(string name, T expected)
    {
        var file = Path.Combine(Recorded, $"{name}.{SiteProtocol.Version}.hex");
        var serializer = Services.GetRequiredService<Serializer<T>>();
        if (Records)
            File.WriteAllText(file, Convert.ToHexStringLower(serializer.SerializeToArray(expected)) + "\n");

        var read = serializer.Deserialize(Convert.FromHexString(File.ReadAllText(file).Trim()));

        Assert.Equivalent(expected, read, strict: true);
    }
}

[GenerateSerializer, Alias("fedrlora.tests.later-report")]
internal sealed record LaterReport
{
    [Id(0)] public required string Site { get; init; }

    [Id(1)] public required IReadOnlyList<ClientReport> Clients { get; init; }

    [Id(2)] public int Protocol { get; init; }

    [Id(3)] public IReadOnlyList<string> More { get; init; } = [];

    [Id(40)] public long Last { get; init; }
}

[GenerateSerializer, Alias("fedrlora.tests.earlier-report")]
internal sealed record EarlierReport
{
    [Id(0)] public required string Site { get; init; }

    [Id(1)] public required IReadOnlyList<ClientReport> Clients { get; init; }
}
