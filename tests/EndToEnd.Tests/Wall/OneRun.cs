using System.Net;
using System.Text;
using System.Text.Json;
using FedRLora.Client;
using FedRLora.EndToEnd.Tests.Trackers;

namespace FedRLora.EndToEnd.Tests.Wall;

/// <summary>
/// A small run of the samples with all its outputs. It stands still at the last line of its reference, while its page and its API are
/// read, and goes on to its end then.
/// </summary>
public sealed class OneRun(Browser browser) : IAsyncLifetime, IDisposable
{
    internal const string Name = "same", Reference = Name + ".local-only", Refused = "zed";
    internal const int Rounds = 3;

    private readonly DirectoryInfo _parent = Directory.CreateTempSubdirectory("fedrlora-same-");
    private readonly TaskCompletionSource<Uri> _entrance = new();
    private readonly TaskCompletionSource _reached = new();
    private readonly ManualResetEventSlim _read = new();
    private readonly CookieContainer _cookies = new();

    internal string Folder => Path.Combine(_parent.FullName, "run");

    /// <summary>Lines of <c>--json</c>.</summary>
    internal IReadOnlyList<string> Lines { get; private set; } = [];

    /// <summary>What a terminal's pipe has.</summary>
    internal string Terminal { get; private set; } = "";

    internal StoredRun Mlflow { get; private set; } = null!;

    /// <summary>Answers by what was asked.</summary>
    internal Dictionary<string, string> Answers { get; } = [];

    /// <summary>Data of events, by event and round.</summary>
    internal IReadOnlyList<(string Event, string Data)> Events { get; private set; } = [];

    /// <summary>What the page has; null without a browser.</summary>
    internal JsonElement? Page { get; private set; }

    public void Dispose() => _read.Dispose();

    public async Task InitializeAsync()
    {
        var plan = Path.Combine(_parent.FullName, "plan.yaml");
        await File.WriteAllTextAsync(plan, Plan);
        await using var mlflow = new MlflowStandIn();
        using var output = new Writer(Shown);
        using var error = new Writer(Told);
        string[] args = ["simulate", plan, "--out", Folder, "--json", "--dashboard", "--mlflow", mlflow.Url];
        var running = Task.Run(() => Cli.RunAsync(args, Program.Commands, output, error));
        var reading = ReadAsync();
        await Task.WhenAny(running, reading);
        _read.Set();
        Assert.True(await running == 0, $"{error}");
        await reading;
        Lines = $"{output}".Split('\n', StringSplitOptions.RemoveEmptyEntries);
        Assert.Empty(mlflow.Faults);
        Mlflow = mlflow.Runs.Single(static run => run.Name == Name);
        var again = await CommandLine.RunAsync("resume", Folder); // shows every round once more, as lines for people
        Assert.True(again.Code == 0, again.Error);
        Terminal = again.Output;
    }

    public Task DisposeAsync()
    {
        _parent.Delete(recursive: true);
        return Task.CompletedTask;
    }

    private async Task ReadAsync()
    {
        var entrance = await _entrance.Task;
        using var http = new HttpClient(new SocketsHttpHandler { CookieContainer = _cookies }) { BaseAddress = new(entrance, "/") };
        using (await http.GetAsync(entrance)) { }
        Events = await ListenAsync(http);
        await _reached.Task;
        foreach (var path in (string[])["", "/result", "/stragglers", "/metrics?format=jsonl", "/metrics?format=csv"])
            Answers[path] = await http.GetStringAsync($"/v1/runs/{Name}{path}");
        Answers[Reference] = await http.GetStringAsync($"/v1/runs/{Reference}");
        if (BrowserFactAttribute.Missing is not null) return;
        var cookie = _cookies.GetCookies(entrance).Single();
        var page = await browser.BeginAsync("numbers", new
        {
            origin = new Uri(entrance, "/").GetLeftPart(UriPartial.Authority), cookie = new { name = cookie.Name, value = cookie.Value },
            run = Name, last = Rounds, client = Refused,
            tasks = new object[] { new object[] { "topic", 1 }, new object[] { "opinion", 3 } },
        });
        Page = JsonDocument.Parse(await page.SaysAsync()).RootElement;
        await page.DoneAsync();
    }

    // From whenever there is a run on: what a snapshot has of its rounds, and then each.
    private static async Task<IReadOnlyList<(string Event, string Data)>> ListenAsync(HttpClient http)
    {
        var answer = await AskAsync();
        while (!answer.IsSuccessStatusCode)
        {
            answer.Dispose();
            await Task.Delay(5);
            answer = await AskAsync();
        }

        using var stream = answer;
        using var reader = new StreamReader(await answer.Content.ReadAsStreamAsync(), Encoding.UTF8);
        var (heard, name) = (new List<(string, string)>(), "");
        while (await reader.ReadLineAsync() is { } line)
        {
            if (line.StartsWith("event: ", StringComparison.Ordinal)) name = line[7..];
            if (!line.StartsWith("data: ", StringComparison.Ordinal) || name is not ("snapshot" or "round")) continue;
            heard.Add((name, line[6..]));
            var data = JsonDocument.Parse(line[6..]).RootElement;
            var rounds = name == "round" ? [data] : data.GetProperty("rounds").EnumerateArray().ToArray();
            if (rounds.Length > 0 && rounds[^1].GetProperty("round").GetInt32() == Rounds) break;
        }

        return heard;

        Task<HttpResponseMessage> AskAsync() => http.GetAsync($"/v1/runs/{Name}/events", HttpCompletionOption.ResponseHeadersRead);
    }

    private void Shown(string text)
    {
        if (text.Split("\"sha256\"").Length == 1 || ++_shown < 2 * (Rounds + 1)) return;
        _reached.TrySetResult();
        _read.Wait();
    }

    private int _shown;

    private void Told(string text)
    {
        if (text.StartsWith("dashboard: ", StringComparison.Ordinal)) _entrance.TrySetResult(new(text["dashboard: ".Length..].Trim()));
    }

    // Ids are in another order than the plan's clients, so that a mean summed in the one or the other would show it.
    private static string Plan => $$"""
        name: {{Name}}
        seed: 3
        model: {{Samples("model")}}
        adapter: {method: r-lora-federated, rank: 4, alpha: 6}
        training: {steps: 2, batchSize: 4, maxTokens: 64, learningRate: 4e-3, threads: 1, groupSize: 1}
        strategy: {rounds: {{Rounds}}, quorum: 0.5}
        evaluation: {everyRounds: 1, maxRows: 20, localOnly: true}
        checkpoints: {export: false}
        faults:
          - kind: nan
            clients: [{{Refused}}]
            rounds: {from: {{Rounds}} }
        clients:
        {{Client(Refused, "topic", "south", 0)}}
        {{Client("cee", "opinion", "south", 0)}}
        {{Client("bee", "opinion", "north", 100)}}
        {{Client("ada", "opinion", "north", 200)}}
        """;

    private static string Client(string id, string task, string site, int offset) => $"  - {{id: {id}, task: {task}, site: {site}, data: "
        + $"{{train: {Samples($"tasks/{task}/train.jsonl")}, test: {Samples($"tasks/{task}/test.jsonl")}, offset: {offset}, rows: 16}}}}";

    private static string Samples(string path) => Path.Combine(Repository.Root, "samples", path);

    /// <summary>Says each line as it is written.</summary>
    private sealed class Writer(Action<string> line) : StringWriter
    {
        public override void WriteLine(string? value)
        {
            base.WriteLine(value);
            line(value ?? "");
        }

        public override async Task WriteLineAsync(string? value)
        {
            await base.WriteLineAsync(value);
            line(value ?? "");
        }
    }
}
