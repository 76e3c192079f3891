using System.Diagnostics;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using FedRLora.EndToEnd.Tests.Federation;
using FedRLora.Training.Tests;

namespace FedRLora.EndToEnd.Tests.Control;

/// <summary>
/// A run on silos of three sites, then looked at by another user of the machine who has its name and a token, and no right to read what
/// the silos keep: all of it is what <c>simulate</c> makes of the same plan.
/// </summary>
public sealed partial class ByNameAloneTests : IDisposable
{
    private static readonly string[] Sites = ["north", "south", "west"];
    private readonly TinyFederation _tiny = new();
    private readonly DirectoryInfo _elsewhere = Directory.CreateTempSubdirectory("fedrlora-elsewhere-");
    private readonly SiloPlace _place = new();

    private string Token => Path.Combine(_elsewhere.FullName, "token");

    public void Dispose()
    {
        _tiny.Dispose();
        _elsewhere.Delete(recursive: true);
    }

    [OtherUserFact]
    public async Task What_another_user_gets_by_the_name_of_a_run_is_what_simulate_makes_of_its_plan()
    {
        var plan = Federation.TinyPlan.Write(
            _tiny, 2,
            string.Join('\n', Sites.Select(static (site, i) => Federation.TinyPlan.Client($"{site}-1", i == 0 ? "one" : "two", site))),
            more: "evaluation: {localOnly: true}");
        var simulated = await RunningProgram.RunAsync(_tiny.Root, "simulate", plan, "--out", "alone");
        var kept = Path.Combine(_tiny.Root, "secret");
        await using var north = Silo("north", [.. _place.Own, "--control-token", kept]);
        await north.UntilAsync(() => north.Output.Contains(" serves ", StringComparison.Ordinal), "the first silo");
        await using var south = Silo("south", _place.Join);
        await using var west = Silo("west", _place.Join);
        await north.UntilAsync(() => (south.Output + west.Output).Split(" serves ").Length == 3, "the others");
        OtherUser.Give(kept, Token);
        var copy = OtherUser.Give(plan, Path.Combine(_elsewhere.FullName, "plan.yaml"));

        await OtherAsync("submit", copy);
        var watched = await OtherAsync("watch", "tiny");

        Assert.False(OtherUser.CanRead(_tiny.Root), "the other user could have read the stores");
        Assert.Equal(Outcome(simulated), Outcome(watched));
        Assert.Equal(Digest(simulated), Digest(await OtherAsync("verify", "tiny")));
        Assert.Equal(await OwnAsync("eval", "--run", "alone"), await OtherAsync("eval", "--run", "tiny"));
        foreach (var by in (string[])["client", "task"])
        {
            Assert.Equal(
                Untimed(await OwnAsync("metrics", "alone", "--by", by)), Untimed(await OtherAsync("metrics", "tiny", "--by", by)));
        }

        Assert.Equal(
            Untimed(await File.ReadAllTextAsync(Path.Combine(_tiny.Root, "alone", "local-only", "metrics.csv"))),
            Untimed(await OtherAsync("metrics", "tiny.local-only")));
        string[] prompt = ["--client", "south-1", "--prompt", "ab", "--max-new-tokens", "8"];
        Assert.Equal(
            await OwnAsync(["generate", "--run", "alone", .. prompt]), await OtherAsync(["generate", "--run", "tiny", .. prompt]));
        await OtherAsync("report", "tiny", "--out", "report.html");
        Assert.Equal(
            Tables(await File.ReadAllTextAsync(Path.Combine(_tiny.Root, "alone", "report.html"))),
            Tables(await File.ReadAllTextAsync(Path.Combine(_elsewhere.FullName, "report.html"))));
        await OtherAsync("export", "tiny", "--out", "adapters");
        foreach (var site in Sites)
        {
            var (own, other) = (Path.Combine(_tiny.Root, "alone", "adapters", $"{site}-1"),
                Path.Combine(_elsewhere.FullName, "adapters", $"{site}-1"));
            Assert.Equal(
                await File.ReadAllBytesAsync(Path.Combine(own, "adapter_model.safetensors")),
                await File.ReadAllBytesAsync(Path.Combine(other, "adapter_model.safetensors")));
            Assert.Equal(Config(own), Config(other));
        }
    }

    private RunningProgram Silo(string site, params string[] more) => RunningProgram.Start(
        _tiny.Root, ["silo", "--site", site, "--store", "cluster", "--site-store", $"at-{site}", .. more]);

    private async Task<string> OwnAsync(params string[] command)
    {
        await using var program = RunningProgram.Start(_tiny.Root, command);
        Assert.True(await program.ExitAsync() == 0, $"{command[0]}:\n{program.Output}");
        return program.StandardOutput;
    }

    private async Task<string> OtherAsync(params string[] command)
    {
        await using var program = RunningProgram.StartAs(
            OtherUser.Command(_elsewhere.FullName), _elsewhere.FullName, [.. command, .. _place.To, "--token-file", Token]);
        Assert.True(await program.ExitAsync() == 0, $"{command[0]} of another user:\n{program.Output}");
        return program.StandardOutput;
    }

    // From the title of the table to the line before the digest.
    private static string Outcome(string output) => OutcomePart().Match(output) is { Success: true } found
        ? found.Value : throw new InvalidOperationException(output);

    private static string Digest(string output) => DigestPart().Match(output) is { Success: true } found
        ? found.Value : throw new InvalidOperationException(output);

    private static string Untimed(string csv)
    {
        var rows = csv.Split(['\r', '\n'], StringSplitOptions.RemoveEmptyEntries).Select(static row => row.Split(',')).ToList();
        int[] times = [Array.IndexOf(rows[0], "seconds"), Array.IndexOf(rows[0], "client_seconds")];
        Assert.True(rows.Count > 3, csv);
        return string.Join('\n', rows.Select(row => string.Join(',', row.Where((_, column) => !times.Contains(column)))));
    }

    private static string[] Tables(string html)
    {
        string[] tables = [.. TablePart().Matches(html).Select(static table => TimePart().Replace(table.Value, ""))];
        Assert.True(tables.Length > 1, html);
        return tables;
    }

    private static string Config(string folder)
    {
        var config = JsonNode.Parse(File.ReadAllText(Path.Combine(folder, "adapter_config.json")))!.AsObject();
        Assert.True(config.Remove("base_model_name_or_path"));
        return config.ToJsonString();
    }

    [GeneratedRegex(@"^Outcome.*?(?=\n+(?:results|digest):)", RegexOptions.Singleline | RegexOptions.Multiline)]
    private static partial Regex OutcomePart();

    [GeneratedRegex("[0-9a-f]{64}")]
    private static partial Regex DigestPart();

    [GeneratedRegex("<table.*?</table>", RegexOptions.Singleline)]
    private static partial Regex TablePart();

    [GeneratedRegex(@"[\d.]+ (?:s|ms|min)\b")]
    private static partial Regex TimePart();
}

/// <summary>Another account of this machine, which may read nothing of this one's.</summary>
internal static class OtherUser
{
    private const string Id = "65534";

    /// <summary>Why there is none; null where there is.</summary>
    public static string? Missing { get; } = Environment.UserName != "root" ? "only root can be another user"
        : !File.Exists("/usr/bin/setpriv") ? "setpriv is not installed"
        : !CanRead(AppContext.BaseDirectory) ? $"another user cannot read {AppContext.BaseDirectory}"
        : null;

    /// <summary>What a program is started with to be that user's, with a home of its own.</summary>
    public static string[] Command(string home) =>
    [
        "setpriv", $"--reuid={Id}", $"--regid={Id}", "--clear-groups", "env", "-i", $"PATH={Environment.GetEnvironmentVariable("PATH")}",
        $"HOME={home}",
    ];

    /// <summary>Copies a file to one that is that user's alone; its folder becomes that user's too.</summary>
    public static string Give(string file, string target)
    {
        Run("install", "-o", Id, "-g", Id, "-m", "600", file, target);
        Run("chown", $"{Id}:{Id}", Path.GetDirectoryName(target)!);
        return target;
    }

    /// <summary>Whether that user may read a folder.</summary>
    public static bool CanRead(string folder)
    {
        using var ls = Process.Start(new ProcessStartInfo("setpriv", [.. Command("/")[1..], "ls", folder])
        {
            RedirectStandardOutput = true, RedirectStandardError = true,
        })!;
        ls.StandardOutput.ReadToEnd();
        ls.WaitForExit();
        return ls.ExitCode == 0;
    }

    private static void Run(string program, params string[] arguments)
    {
        using var process = Process.Start(program, arguments);
        process.WaitForExit();
        Assert.Equal(0, process.ExitCode);
    }
}

/// <summary>A test that needs <see cref="OtherUser"/>.</summary>
[AttributeUsage(AttributeTargets.Method)]
internal sealed class OtherUserFactAttribute : FactAttribute
{
    public OtherUserFactAttribute() => Skip = OtherUser.Missing;
}
