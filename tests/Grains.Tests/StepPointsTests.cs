using System.Text;
using System.Text.Json;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Grains;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Ports;
using FedRLora.Abstractions.Sending;
using FedRLora.Grains.Clients;
using FedRLora.Grains.Store;
using FedRLora.Grains.Upkeep;
using FedRLora.Silo.Storage;

namespace FedRLora.Grains.Tests;

/// <summary>Points of steps: what a site keeps, what the job's store gets, and what is read of them.</summary>
public sealed class StepPointsTests : IDisposable
{
    private const string Job = "job", AtSite = "telemetry: {stepEvery: 1}", AtHub = "telemetry: {stepEvery: 1, steps: hub}";
    private readonly string _folder = Directory.CreateTempSubdirectory("fedrlora-points-").FullName;
    private readonly DirectoryBlobStore _store;

    public StepPointsTests() => _store = new DirectoryBlobStore(_folder);

    private static CancellationToken InTime => new CancellationTokenSource(TimeSpan.FromSeconds(60)).Token;

    public void Dispose()
    {
        _store.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    [Fact]
    public async Task A_client_keeps_its_points_at_its_site_alone_in_the_order_of_rounds()
    {
        await using var federation = await StartAsync();
        await federation.RunAsync(Job, TestFederation.Plan(clients: 2, rounds: 11, more: AtSite), InTime);

        var lines = await LinesAsync(federation, "c00001");

        Assert.Equal(Enumerable.Range(1, 11), lines.Select(static line => line.GetProperty("round").GetInt32()));
        Assert.Equal(Enumerable.Range(1, 11), lines.Select(static line => line.GetProperty("step").GetInt32()));
        Assert.DoesNotContain(await KeysAsync(), static key => key.StartsWith(Keys.SentStepPointsOf(Job), StringComparison.Ordinal));
    }

    [Fact]
    public async Task A_plan_that_asks_for_none_keeps_none()
    {
        await using var federation = await StartAsync();
        await federation.RunAsync(Job, TestFederation.Plan(clients: 2, rounds: 1), InTime);

        Assert.Empty(await LinesAsync(federation, "c00001"));
        Assert.DoesNotContain(await KeysAsync(), static key => key.Contains("/steps/", StringComparison.Ordinal));
    }

    [Fact]
    public async Task The_jobs_store_gets_the_same_lines_where_plan_and_site_let_them_leave()
    {
        await using var federation = await StartAsync(maySend: SendingLimits.Parse(["nothing-but A,steps"]));
        await federation.RunAsync(Job, TestFederation.Plan(clients: 2, rounds: 2, more: AtHub), InTime);

        foreach (var round in (int[])[1, 2])
            Assert.Equal(
                await _store.ReadBytesAsync(Keys.StepPoints(Job, "local", "c00000", round), InTime),
                await _store.ReadBytesAsync(Keys.SentStepPoints(Job, "c00000", round), InTime));
    }

    [Theory]
    [InlineData("job")]
    [InlineData("task")]
    [InlineData("nothing-but A")]
    public async Task A_site_whose_word_does_not_name_them_refuses_a_plan_that_would_send_points(string word)
    {
        await using var federation = await StartAsync(maySend: SendingLimits.Parse([word]));

        var refused = await Assert.ThrowsAsync<BadInputException>(
            () => federation.Coordinator(Job).SubmitAsync(TestFederation.Plan(clients: 2, more: AtHub), InTime));

        Assert.StartsWith("Site local refuses the plan, which would send points of its clients' steps:", refused.Message,
            StringComparison.Ordinal);
        Assert.EndsWith("Give the plan telemetry.steps: site, or give a wider word: --may-send nothing-but A,steps.", refused.Message,
            StringComparison.Ordinal);
        await federation.RunAsync("other", TestFederation.Plan(clients: 2, more: AtSite), InTime); // what stays asks no one
    }

    [Fact]
    public async Task A_client_that_fails_keeps_its_points_too()
    {
        var trainer = new FakeTrainer
        {
            Afterwards = static (group, result) => result.ClientId == "c00001"
                ? new() { ClientId = result.ClientId, Failure = "the loss is NaN", Points = [Point(group.Round, double.NaN)] }
                : result,
        };
        await using var federation = await StartAsync(trainer);
        await federation.RunAsync(
            Job, TestFederation.Plan(clients: 2, rounds: 1, more: AtSite, strategy: "  quorum: 0.5"), InTime);

        var line = Assert.Single(await LinesAsync(federation, "c00001"));
        Assert.Equal((JsonValueKind.Null, "NaN"), (line.GetProperty("loss").ValueKind, line.GetProperty("lossReason").GetString()));
    }

    [Fact]
    public async Task A_round_done_again_replaces_its_points()
    {
        var attempts = 0;
        var trainer = new FakeTrainer
        {
            Afterwards = (group, result) =>
            {
                var isLost = result.ClientId == "c00001" && Interlocked.Increment(ref attempts) == 1;
                return (isLost ? new() { ClientId = result.ClientId, Failure = "lost" } : result) with { Points = [Point(group.Round)] };
            },
        };
        await using var federation = await StartAsync(trainer);
        await federation.RunAsync(
            Job, TestFederation.Plan(clients: 2, rounds: 1, more: AtSite, strategy: "  quorum: 1\n  maxAttempts: 3"), InTime);

        var line = Assert.Single(await LinesAsync(federation, "c00000"));
        Assert.Equal((1, 2), (line.GetProperty("round").GetInt32(), line.GetProperty("attempt").GetInt32()));
    }

    [Fact]
    public async Task A_round_done_again_without_points_leaves_none()
    {
        await StepPointsFile.WriteAsync(_store, "key/1.jsonl", [Point(1)], attempt: 1, InTime);
        await StepPointsFile.WriteAsync(_store, "key/1.jsonl", [], attempt: 2, InTime);

        Assert.Null(await StepPointsFile.ReadAsync(_store, "key/1.jsonl", InTime));
    }

    [Fact]
    public async Task Points_are_whole_JSON_lines_whatever_their_numbers()
    {
        var point = Point(3) with { Loss = double.NegativeInfinity, GradientNorm = null, TokensPerSecond = double.PositiveInfinity };
        await StepPointsFile.WriteAsync(_store, "key", [point, Point(3)], attempt: 1, InTime);

        var read = Encoding.UTF8.GetString((await StepPointsFile.ReadAsync(_store, "key", InTime))!);

        const string Begin = "{\"round\":3,\"attempt\":1,\"step\":3,", End = "\"residentBytes\":5,\"seconds\":0.5}\n";
        Assert.Equal(
            Begin + """
            "loss":null,"lossReason":"-Infinity","gradientNorm":null,"gradientNormReason":"nothing stepped","learningRate":0.01,
            "tokensPerSecond":null,"tokensPerSecondReason":"Infinity",
            """.ReplaceLineEndings("") + End
            + Begin + "\"loss\":1.5,\"gradientNorm\":2.5,\"learningRate\":0.01,\"tokensPerSecond\":100," + End, read);
    }

    [Fact]
    public async Task Points_that_were_changed_are_named_and_verification_knows_all_others()
    {
        await using (var federation = await StartAsync())
            await federation.RunAsync(Job, TestFederation.Plan(clients: 2, rounds: 3, more: AtHub), InTime);
        var whole = await new RunVerifier(_store, _store, Job).VerifyAsync(InTime);
        Assert.Empty(whole!.Broken);
        Assert.Empty(whole.Leftovers);
        var parts = (RunReport[])[
            (await new RunVerifier(_store, _store, Job).VerifyJobAsync(InTime))!,
            (await new RunVerifier(_store, _store, Job).VerifySiteAsync("local", InTime))!];
        Assert.All(parts, static part => Assert.Equal((0, 0), (part.Broken.Count, part.Leftovers.Count)));
        Assert.DoesNotContain(await new RunCollector(_store, _store, Job).FindAsync(InTime),
            static blob => blob.Key.Contains("/steps/", StringComparison.Ordinal));

        var key = Keys.StepPoints(Job, "local", "c00000", 2);
        var bytes = (await _store.ReadBytesAsync(key, InTime))!;
        foreach (var changed in (byte[][])[bytes[..^10], [.. bytes[..5], (byte)'x', .. bytes[6..]], [], [0, 0, 0]])
        {
            await _store.WriteBytesAsync(key, changed, WriteCondition.Any, InTime);
            var report = await new RunVerifier(_store, _store, Job).VerifyAsync(InTime);
            Assert.Equal(key, Assert.Single(report!.Broken).Key);
            var refused = await Assert.ThrowsAsync<CorruptBlobException>(() => StepPointsFile.ReadAsync(_store, key, InTime));
            Assert.Contains("delete it", refused.Message, StringComparison.Ordinal);
        }
    }

    private Task<TestFederation> StartAsync(FakeTrainer? trainer = null, SendingLimits? maySend = null) =>
        TestFederation.StartAsync(trainer: trainer ?? new FakeTrainer
        {
            Afterwards = static (group, result) => result with { Points = [Point(group.Round)] },
        }, store: _store, folder: _folder, maySend: maySend);

    private static async Task<IReadOnlyList<JsonElement>> LinesAsync(TestFederation federation, string client)
    {
        using var text = new MemoryStream();
        var site = federation.Cluster.Client.GetGrain<ISiteRunGrain>(Keys.Site(Job, "local"));
        await foreach (var piece in site.StepsAsync(client, InTime)) text.Write(piece.Content);
        return [.. Encoding.UTF8.GetString(text.ToArray()).Split('\n', StringSplitOptions.RemoveEmptyEntries)
            .Select(static line => JsonDocument.Parse(line).RootElement)];
    }

    private async Task<IReadOnlyList<string>> KeysAsync()
    {
        var keys = new List<string>();
        await foreach (var key in _store.ListAsync("", InTime)) keys.Add(key);
        return keys;
    }

    private static StepPoint Point(int round, double loss = 1.5) => new()
    {
        Round = round, Step = round, Loss = loss, GradientNorm = 2.5, LearningRate = 0.01, TokensPerSecond = 100, ResidentBytes = 5,
        Seconds = 0.5,
    };
}
