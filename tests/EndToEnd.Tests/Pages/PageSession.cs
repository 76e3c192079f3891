using System.Diagnostics;
using System.Net.Sockets;
using System.Text.RegularExpressions;
using FedRLora.ControlPlane;
using FedRLora.Silo;

namespace FedRLora.EndToEnd.Tests.Pages;

/// <summary>What became of a command; <paramref name="Problem"/> is null where it did what the page says.</summary>
internal sealed record PageOutcome(PageCommand Command, string? Problem, double Seconds);

/// <summary>
/// A reader with a shell in the repository's folder who types the commands of pages, one after the other. A server gets a terminal of
/// its own and stays until the session ends; a variable that a page exports holds from then on.
/// </summary>
internal sealed partial class PageSession : IAsyncDisposable
{
    private const string RunGenerator = "dotnet run -c Release --project samples/Generator --";
    private static readonly string[] NamesSilos = ["--cluster", "--join", "--server"];
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(3);
    private readonly Scratch _scratch = new();
    private readonly List<Terminal> _servers = [];
    private readonly List<string> _exports = [];
    private readonly int[] _ports = FreePorts.Take(5);
    private string? _digest;

    public PageSession() => File.WriteAllText(_scratch.Under("notes.yaml"), NotesPlan());

    public List<PageOutcome> Outcomes { get; } = [];

    /// <summary>The plan that the README asks to save as notes.yaml.</summary>
    public static string NotesPlan() => Assert.Single(
        Page.All.Single(static page => page.Name == "README.md").Blocks,
        static block => block.Text.StartsWith("name: notes ", StringComparison.Ordinal)).Text;

    /// <summary>Types a command and waits for its end, or until a server serves.</summary>
    public async Task RunAsync(PageCommand command)
    {
        var started = Stopwatch.GetTimestamp();
        var problem = await ProblemAsync(command);
        Outcomes.Add(new(command, problem, Stopwatch.GetElapsedTime(started).TotalSeconds));
    }

    /// <summary>Ends the servers as Ctrl-C does, and says which silo did not end with 0.</summary>
    public async Task<IReadOnlyList<string>> EndServersAsync()
    {
        var silos = _servers.Where(static server => server.Line.Contains("fedrlora silo", StringComparison.Ordinal)).ToList();
        foreach (var silo in silos) silo.Interrupt();
        var problems = new List<string>();
        foreach (var silo in silos)
        {
            if (await silo.ExitAsync(Patience) is var code && code != 0)
                problems.Add($"{silo.Line} ended with {(code is null ? "nothing" : $"{code}")} at Ctrl-C:\n{silo.Output}");
        }

        return problems;
    }

    public async ValueTask DisposeAsync()
    {
        foreach (var server in _servers) await server.DisposeAsync();
        _scratch.Dispose();
    }

    private async Task<string?> ProblemAsync(PageCommand command)
    {
        var line = OfThisSession(command.Text);
        if (line.StartsWith("export ", StringComparison.Ordinal)) _exports.Add(line);
        if (ReadyOf(line) is { } ready)
        {
            var server = new Terminal(_scratch.Folder, Script("exec " + line), line);
            _servers.Add(server);
            return await server.UntilAsync(ready, Patience) ? null : $"the server does not serve:\n{server.Output}";
        }

        await using var terminal = new Terminal(_scratch.Folder, Script(line), line);
        var code = await terminal.ExitAsync(Patience);
        return code switch
        {
            0 => Missed(command.Comment, terminal.Output),
            null => $"did not end within {Patience.TotalMinutes} minutes:\n{terminal.Output}",
            _ => $"ended with {code}:\n{terminal.Output}",
        };
    }

    private string Script(string line) => string.Join('\n', [.. _exports, line]);

    /// <summary>What the comment behind a command promises of its output and did not come; null for nothing.</summary>
    private string? Missed(string comment, string output)
    {
        var digest = Digest().Match(output) is { Success: true } found ? found.Groups[1].Value : null;
        if (comment.Contains("the same digest", StringComparison.Ordinal))
            return digest is not null && digest == _digest ? null : $"the digest is {digest ?? "missing"}, not {_digest}:\n{output}";
        if (Promised().Match(comment) is { Success: true } promised && !output.Contains(promised.Groups[1].Value, StringComparison.Ordinal))
            return $"'{promised.Groups[1].Value}' was promised and not printed:\n{output}";
        _digest = digest ?? _digest;
        return null;
    }

    /// <summary>
    /// The same command with free ports for the pages' own, with the generator that is built, and waiting for what a sleep waits for.
    /// </summary>
    private string OfThisSession(string line)
    {
        var (silo, gateway, redis, azurite, control) = (_ports[0], _ports[1], _ports[2], _ports[3], _ports[4]);
        line = line.Replace(RunGenerator, $"dotnet {Scratch.Generator}", StringComparison.Ordinal);
        line = Port(line, SiloPorts.Silo, silo);
        line = Port(line, SiloPorts.Gateway, gateway);
        line = Port(line, ControlOptions.DefaultPort, control);
        line = Port(line, 6379, redis);
        line = Port(line, 10000, azurite);
        line = line.Replace("UseDevelopmentStorage=true", AzuriteAccount(azurite), StringComparison.Ordinal);
        // A sleep is as long as the run needs to be in its middle, on this machine and under this load.
        line = Sleep().Replace(line, static sleep =>
            $"while kill -0 $! && [ ! -e {sleep.Groups[1].Value}/store/jobs/notes/rounds/3 ]; do sleep 0.02; done");
        return line.Split(' ') switch
        {
            ["./fedrlora", .. var words] when NamesSilos.Any(words.Contains) => line,
            ["./fedrlora", "silo", ..] => $"{line} --port {silo} --gateway {gateway} --control {control}",
            ["./fedrlora", "submit" or "watch" or "runs" or "pause" or "cancel", ..] => $"{line} --server http://127.0.0.1:{control}",
            _ => line,
        };
    }

    private static string Port(string line, int written, int free) => Regex.Replace(line, $@"\b{written}\b", $"{free}");

    // The short form that the page has means port 10000.
    private static string AzuriteAccount(int port) => "DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;"
        + "AccountKey=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==;"
        + $"BlobEndpoint=http://127.0.0.1:{port}/devstoreaccount1;";

    /// <summary>When a server serves; null for a command that ends.</summary>
    private Func<Terminal, bool>? ReadyOf(string line) => line.Split(' ') switch
    {
        ["./fedrlora", "silo", ..] => static server => server.Output.Contains(" serves ", StringComparison.Ordinal),
        ["redis-server", ..] => _ => Answers(_ports[2]),
        [var program, ..] when program.EndsWith("azurite-blob", StringComparison.Ordinal) => _ => Answers(_ports[3]),
        _ => null,
    };

    private static bool Answers(int port)
    {
        try
        {
            using var client = new TcpClient("127.0.0.1", port);
            return true;
        }
        catch (SocketException)
        {
            return false;
        }
    }

    [GeneratedRegex(@"digest:? ([0-9a-f]{64})")]
    private static partial Regex Digest();

    [GeneratedRegex("prints \"([^\".]+)")]
    private static partial Regex Promised();

    [GeneratedRegex(@"(?<=--out (\S+) & )sleep \d+")]
    private static partial Regex Sleep();
}
