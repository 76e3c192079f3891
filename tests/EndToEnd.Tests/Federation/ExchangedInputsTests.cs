using System.Text.Json;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Silo;
using FedRLora.Training.Tests;

namespace FedRLora.EndToEnd.Tests.Federation;

/// <summary>A silo that was killed comes back with other files.</summary>
public sealed class ExchangedInputsTests : IAsyncLifetime, IDisposable
{
    private readonly TinyFederation _tiny = new();
    private readonly TinyFederation _north = new(); // the other site's machine
    private RunningProgram? _joining; // its silo

    public Task InitializeAsync() => Task.CompletedTask;

    public async Task DisposeAsync()
    {
        if (_joining is not null) await _joining.DisposeAsync();
    }

    public void Dispose()
    {
        _tiny.Dispose();
        _north.Dispose();
    }

    private string Store => Path.Combine(_tiny.Root, "cluster");

    [Fact]
    public async Task A_silo_that_joins_with_other_rows_or_another_tokenizer_gets_no_work_until_that_is_allowed_or_put_back()
    {
        var plan = TinyPlan.Write(_tiny, 2000,
            $"{TinyPlan.Client("north-1", "one", "north")}\n{TinyPlan.Client("south-1", "two", "south")}");
        var place = new SiloPlace();
        var to = place.To;
        await using var south = RunningProgram.Start(_tiny.Root,
            ["silo", "--site", "south", "--store", "cluster", "--site-store", "south", "--resend-after", "1", .. place.Own]);
        await south.UntilAsync(() => south.Output.Contains("serves", StringComparison.Ordinal), "the first silo");
        await JoinAsync(place.Silo);
        await RunningProgram.RunAsync(_tiny.Root, ["submit", plan, .. to]);
        await UntilRoundAsync(south, 1);

        await _joining!.DisposeAsync(); // killed
        var rows = await File.ReadAllLinesAsync(Path.Combine(_north.Root, "one.train.jsonl"));
        _north.Write("one.train.jsonl", rows.Reverse());
        await JoinAsync(place.Silo);
        const string OtherRows = "one.train.jsonl: the training rows of client north-1 are not those that run tiny was made with";
        await FailsAsync(OtherRows, to);
        Assert.StartsWith(OtherRows, await RefusedAsync("resume", to), StringComparison.Ordinal);
        var before = Round();
        await RunningProgram.RunAsync(_tiny.Root, ["resume", "tiny", "--allow-data-change", .. to]);
        await UntilRoundAsync(south, before + 1);

        await _joining!.DisposeAsync(); // killed
        await File.AppendAllTextAsync(Path.Combine(_north.Root, "model/tokenizer.json"), "\n");
        await JoinAsync(place.Silo);
        const string OtherTokenizer = "tokenizer.json of model is not the one that run tiny was made with";
        await FailsAsync(OtherTokenizer, to);
        Assert.StartsWith(OtherTokenizer, await RefusedAsync("resume", to), StringComparison.Ordinal);
        File.Copy(Path.Combine(_tiny.Root, "model/tokenizer.json"), Path.Combine(_north.Root, "model/tokenizer.json"), overwrite: true);
        var last = Round();
        await RunningProgram.RunAsync(_tiny.Root, ["resume", "tiny", .. to]);
        await UntilRoundAsync(south, last + 1);

        await RunningProgram.RunAsync(_tiny.Root, ["cancel", "tiny", .. to]);
        var verified = JsonDocument.Parse(await RunningProgram.RunAsync(_tiny.Root, "verify", "--store", "cluster", "--site-store",
            "south", "--job", "tiny", "--json")).RootElement;
        Assert.Equal([$"from round {before + 1} on: other rows of north-1"], verified.GetProperty("changes").EnumerateArray()
            .Select(static change => change.GetString()));
        Assert.True(File.Exists(Path.Combine(_north.Root, "north", Keys.Rows("tiny", "north", "north-1"))));
        Assert.Empty(Directory.GetFiles(Store, "rows.json", SearchOption.AllDirectories));
    }

    private async Task JoinAsync(int port)
    {
        var silo = _joining = RunningProgram.Start(_north.Root, "silo", "--site", "north", "--store", Store, "--site-store", "north",
            "--resend-after", "1", "--join", $"{port}");
        await silo.UntilAsync(() => silo.Output.Contains("serves", StringComparison.Ordinal), "the other silo");
    }

    private async Task FailsAsync(string said, string[] to)
    {
        await using var watch = RunningProgram.Start(_tiny.Root, ["watch", "tiny", .. to]);
        Assert.Equal(1, await watch.ExitAsync());
        Assert.Contains(said, watch.Output, StringComparison.Ordinal);
    }

    private async Task<string> RefusedAsync(string command, string[] to)
    {
        await using var program = RunningProgram.Start(_tiny.Root, [command, "tiny", .. to]);
        Assert.True(await program.ExitAsync() == 2, program.Output);
        return program.Output;
    }

    private Task UntilRoundAsync(RunningProgram silo, int round) => silo.UntilAsync(() => Round() >= round, $"round {round}");

    private int Round()
    {
        var file = Path.Combine(Store, Keys.Current("tiny"));
        return File.Exists(file) ? CurrentRound.Parse(File.ReadAllBytes(file), file).Round : -1;
    }
}
