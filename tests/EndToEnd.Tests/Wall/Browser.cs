using System.Diagnostics;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace FedRLora.EndToEnd.Tests.Wall;

/// <summary>One chromium for all tests of the page, in which tests/wall/scenarios.mjs runs one scenario after another.</summary>
public sealed class Browser : IAsyncLifetime
{
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(2);
    private Process? _node;
    private Task<string> _errors = Task.FromResult("");

    /// <summary>Begins a scenario; <paramref name="given"/> is an object with what it has to know.</summary>
    internal async Task<Scenario> BeginAsync(string scenario, object given)
    {
        if (_node is null)
        {
            _node = Process.Start(new ProcessStartInfo("node", [Path.Combine(BrowserFactAttribute.Folder, "scenarios.mjs")])
            {
                RedirectStandardInput = true, RedirectStandardOutput = true, RedirectStandardError = true,
            })!;
            _errors = _node.StandardError.ReadToEndAsync();
        }

        var line = JsonSerializer.SerializeToNode(given)!.AsObject();
        line.Add("scenario", scenario);
        await TellAsync(line.ToJsonString());
        return new(this);
    }

    /// <summary>Runs a scenario that needs nothing to happen meanwhile.</summary>
    internal async Task RunAsync(string scenario, object given) => await (await BeginAsync(scenario, given)).DoneAsync();

    public Task InitializeAsync() => Task.CompletedTask; // it starts with the first scenario

    public async Task DisposeAsync()
    {
        if (_node is null) return;
        _node.StandardInput.Close();
        await _node.WaitForExitAsync(new CancellationTokenSource(Patience).Token);
        _node.Dispose();
    }

    internal async Task TellAsync(string line)
    {
        await _node!.StandardInput.WriteLineAsync(line);
        await _node.StandardInput.FlushAsync();
    }

    /// <summary>What the scenario says next; null when it is done.</summary>
    /// <exception cref="InvalidOperationException">It has failed.</exception>
    internal async Task<string?> HearAsync()
    {
        var line = await _node!.StandardOutput.ReadLineAsync(new CancellationTokenSource(Patience).Token)
            ?? throw new InvalidOperationException($"node has ended: {await _errors}");
        var said = JsonNode.Parse(line)!;
        return said["failed"] is { } failed ? throw new InvalidOperationException($"{failed}") : (string?)said["says"];
    }
}

/// <summary>A scenario that goes on in the browser.</summary>
internal sealed class Scenario(Browser browser)
{
    /// <summary>Waits for what it says next.</summary>
    public async Task<string> SaysAsync() =>
        await browser.HearAsync() ?? throw new InvalidOperationException("the scenario was done before it said anything more");

    /// <summary>Waits until it says this.</summary>
    public async Task SaysAsync(string expected) => Assert.Equal(expected, await SaysAsync());

    /// <summary>Tells it something.</summary>
    public Task TellAsync(string line) => browser.TellAsync(line);

    /// <summary>Waits for its end; returns what it says until then.</summary>
    public async Task<IReadOnlyList<string>> DoneAsync()
    {
        var said = new List<string>();
        while (await browser.HearAsync() is { } line) said.Add(line);
        return said;
    }
}

/// <summary>Tests of the page share one browser and run one after another.</summary>
[CollectionDefinition(Name)]
public sealed class BrowserTests : ICollectionFixture<Browser>
{
    internal const string Name = "browser";
}
