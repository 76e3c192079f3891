using System.Text;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Ports;
using FedRLora.Abstractions.Tensors;
using FedRLora.Grains.Exports;
using FedRLora.Grains.Sites;
using FedRLora.Grains.Store;
using Microsoft.Extensions.DependencyInjection;

namespace FedRLora.Grains.Tests;

/// <summary>What sites give of a run, asked from a silo of another site.</summary>
public sealed class SiteRunTests
{
    private const string Client = "c00001"; // of site south
    private static readonly string[] Sites = ["north", "south"];

    private static CancellationToken InTime => new CancellationTokenSource(TimeSpan.FromSeconds(90)).Token;

    [Fact]
    public async Task An_adapter_comes_in_pieces_which_are_the_files_that_an_export_of_the_committed_state_writes()
    {
        const int Elements = 200_000; // 800 kB: four pieces
        await using var federation = await StartAsync(trainer: new FakeTrainer(Elements));
        var committed = (await federation.FinishAsync("job", InTime)).NewRounds[^1].Manifest;
        var shared = await federation.Store.ReadStateAsync(committed.SharedOf("job"), InTime);

        var pieces = await SitesOf(federation).ExportAsync("job", Client, new FormAsked(), InTime).ToListAsync(InTime);

        Assert.True(pieces.Count >= 5);
        Assert.All(pieces, static piece => Assert.InRange(piece.Content.Length, 1, 256 << 10));
        foreach (var file in ExportedFiles.Of(new ExportedAdapter("{}", shared)))
        {
            using var expected = new MemoryStream();
            file.Write(expected);
            var own = pieces.Where(piece => piece.File == file.Name).ToList();
            Assert.All(own, piece => Assert.Equal(expected.Length, piece.SizeBytes));
            Assert.Equal(expected.ToArray(), own.SelectMany(static piece => piece.Content));
        }
    }

    [Fact]
    public async Task What_an_export_refuses_is_heard_before_the_first_piece()
    {
        await using var federation = await StartAsync();
        federation.Trainer.Given = "another adapter";

        var refusal = await Assert.ThrowsAsync<BadInputException>(
            async () => await SitesOf(federation).ExportAsync("job", Client, new FormAsked(), InTime).FirstAsync(InTime));

        Assert.Contains("not the adapter that the run started from", refusal.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Every_client_is_scored_again_at_its_site_to_what_its_manifest_says()
    {
        await using var federation = await StartAsync();
        var committed = (await federation.FinishAsync("job", InTime)).NewRounds[^1].Manifest;

        var (round, scored) = await SitesOf(federation).EvaluateAsync("job", cancellationToken: InTime);

        Assert.Equal(committed.Round, round);
        Assert.Equal(committed.Clients.Select(static client => (client.Id, client.Score)),
            scored.Select(static one => (one.Now.ClientId, one.Now.Score)));
        Assert.Equal(["north", "south", "north", "south"], scored.Select(static one => one.Site));
        Assert.All(scored, static one => Assert.Empty(one.Now.Changes));
    }

    [Fact]
    public async Task A_client_that_cannot_be_scored_fails_alone_and_changed_rows_are_said_beside_its_score()
    {
        await using var federation = await StartAsync();
        federation.Trainer.Unscorable.Add("c00000");
        federation.Inputs["b.jsonl"] = "other rows";

        var (_, scored) = await SitesOf(federation).EvaluateAsync("job", ["c00000", Client], InTime);

        Assert.Equal([("c00000", "b.jsonl: no such file"), (Client, null)],
            scored.Select(static one => (one.Now.ClientId, one.Now.Failure)));
        Assert.Equal([$"b.jsonl: the test rows of client {Client} are not those that run job was made with"], scored[1].Now.Changes);
        Assert.NotNull(scored[1].Now.Score);
    }

    [Fact]
    public async Task A_head_that_was_changed_is_its_clients_failure()
    {
        await using var federation = await StartAsync();
        await File.WriteAllTextAsync(Path.Combine(federation.Folder, Keys.Head("job", "south", Client, 2)), "changed", InTime);

        var (_, scored) = await SitesOf(federation).EvaluateAsync("job", ["c00000", Client, "c00003"], InTime);

        Assert.Equal([false, true, false], scored.Select(static one => one.Now.Failure is not null));
    }

    [Fact]
    public async Task A_site_without_a_silo_is_named_in_one_line()
    {
        await using var federation = await StartAsync();
        await federation.Cluster.StopSiloAsync(federation.Cluster.Silos.Single(silo => federation.SiteOf[silo.Name] == "south"));
        var sites = SitesOf(federation);

        var away = await Assert.ThrowsAsync<SiteUnavailableException>(
            async () => await sites.ExportAsync("job", Client, new FormAsked(), InTime).FirstAsync(InTime));
        var (_, scored) = await sites.EvaluateAsync("job", cancellationToken: InTime);

        Assert.Equal("south", away.Site);
        Assert.StartsWith("site south: no silo serves it", away.Message, StringComparison.Ordinal);
        Assert.Equal([null, away.Message, null, away.Message], scored.Select(static one => one.Now.Failure));
    }

    [Fact]
    public async Task A_prompt_is_answered_by_the_committed_state_and_neither_a_bad_one_nor_one_beside_another_base()
    {
        await using var federation = await StartAsync();
        var sites = SitesOf(federation);

        var text = await sites.GenerateAsync("job", Client, new Prompt { Text = "hello" }, InTime).ToListAsync(InTime);
        var refusal = await Assert.ThrowsAsync<BadInputException>(
            async () => await sites.GenerateAsync("job", Client, new Prompt { Text = "" }, InTime).FirstAsync(InTime));

        Assert.Equal($"{Client} in round 2", string.Concat(text));
        Assert.Equal("prompt: there is none", refusal.Message);
        federation.Inputs["tokenizer.json"] = "another";
        refusal = await Assert.ThrowsAsync<BadInputException>(
            async () => await sites.GenerateAsync("job", Client, new Prompt { Text = "hello" }, InTime).FirstAsync(InTime));
        Assert.Contains("put back what it was", refusal.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Rows_scores_are_what_the_site_keeps_and_a_changed_file_is_named()
    {
        await using var federation = await StartAsync();
        var (sites, key) = (SitesOf(federation), Keys.RowScores("job", "south", Client));
        Assert.Empty(await sites.RowScoresAsync("job", Client, InTime).ToListAsync(InTime));
        var kept = SealedJson.Seal("""{"Round":2}"""u8);
        await federation.Store.WriteBytesAsync(key, kept, WriteCondition.Any, InTime);

        var pieces = await sites.RowScoresAsync("job", Client, InTime).ToListAsync(InTime);
        await federation.Store.WriteBytesAsync(key, Encoding.UTF8.GetBytes("""{"Round":3}"""), WriteCondition.Any, InTime);
        var refusal = await Assert.ThrowsAsync<CorruptBlobException>(
            async () => await sites.RowScoresAsync("job", Client, InTime).FirstAsync(InTime));

        Assert.Equal("row-scores.json", Assert.Single(pieces).File);
        Assert.Equal(kept, pieces[0].Content);
        Assert.StartsWith(key, refusal.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_run_or_client_that_is_not_there_is_refused()
    {
        await using var federation = await StartAsync();
        async Task<string> RefusedAsync(string run, string client) => (await Assert.ThrowsAsync<BadInputException>(
            async () => await SitesOf(federation).ExportAsync(run, client, new FormAsked(), InTime).FirstAsync(InTime))).Message;

        Assert.Equal("There is no run other in this store.", await RefusedAsync("other", Client));
        Assert.Equal("Run job has no client nobody.", await RefusedAsync("job", "nobody"));
        Assert.Equal("Run job has no client ../c00001.", await RefusedAsync("job", "../c00001"));
    }

    private static async Task<TestFederation> StartAsync(FakeTrainer? trainer = null)
    {
        var federation = await TestFederation.StartAsync(Sites, trainer);
        await federation.RunAsync("job", TestFederation.Plan(clients: 4, rounds: 2, site: static i => Sites[i % 2]), InTime);
        return federation;
    }

    private static SiteRuns SitesOf(TestFederation federation) =>
        federation.Cluster.Silos.First(silo => federation.SiteOf[silo.Name] == "north").ServiceProvider.GetRequiredService<SiteRuns>();
}
