using System.Diagnostics;
using System.Globalization;
using System.Net;
using FedRLora.EndToEnd.Tests.Federation;
using FedRLora.Pki;

namespace FedRLora.EndToEnd.Tests.Sites;

/// <summary>
/// Sites as machines of their own: a network namespace each, joined by a <see cref="Wire"/>, and one for Redis, called hub. Every site has
/// a certificate of one authority. All of it goes with this process.
/// </summary>
internal sealed class SiteNamespaces : IAsyncDisposable
{
    private const string Hub = "hub";
    private static int _made;
    private readonly Dictionary<string, string> _namespaces = [], _devices = [];
    private readonly Dictionary<string, RunningProgram> _silos = [];
    private readonly List<string> _outputs = [];
    private readonly string _folder;
    private readonly IReadOnlyList<string> _sites;
    private Process? _redis;

    private SiteNamespaces(string folder, IReadOnlyList<string> sites)
    {
        (_folder, _sites) = (folder, sites);
        var number = Interlocked.Increment(ref _made);
        foreach (var (site, i) in sites.Prepend(Hub).Select(static (site, i) => (site, i)))
        {
            _namespaces[site] = string.Create(CultureInfo.InvariantCulture, $"fedrlora-{Environment.ProcessId}-{number}-{site}");
            _devices[site] = string.Create(CultureInfo.InvariantCulture, $"fr{Environment.ProcessId % 1_000_000}x{number}{i}");
        }

        Wire = new([.. _devices.Values]);
    }

    /// <summary>Why tests that need namespaces are skipped; null where they can be had.</summary>
    public static string? Missing { get; } = Environment.UserName != "root" ? "only root can make network namespaces"
        : RedisServer.Missing is { } noRedis ? noRedis
        : !File.Exists("/dev/net/tun") ? "this kernel has no TAP devices (/dev/net/tun)"
        : Run("ip", "netns", "list") is { } noNamespaces ? $"network namespaces cannot be made: {noNamespaces}" : null;

    /// <summary>The network between them.</summary>
    public Wire Wire { get; }

    /// <summary>What all silos wrote, those that are gone first.</summary>
    public string Output => string.Join("\n---\n", _outputs.Concat(_silos.Select(static silo => $"{silo.Key}:\n{silo.Value.Output}")));

    /// <summary>Namespaces, network, certificates and Redis; no silo yet.</summary>
    public static async Task<SiteNamespaces> StartAsync(string folder, params string[] sites)
    {
        var all = new SiteNamespaces(folder, sites);
        try
        {
            all.MakeNamespaces();
            all.MakeCertificates();
            await all.StartRedisAsync();
            return all;
        }
        catch
        {
            await all.DisposeAsync();
            throw;
        }
    }

    /// <summary>Starts a site's silo, and returns once it serves.</summary>
    public async Task StartSiloAsync(string site)
    {
        if (_silos.Remove(site, out var before))
        {
            _outputs.Add($"{site}, ended:\n{before.Output}");
            await before.DisposeAsync();
        }

        var silo = _silos[site] = RunningProgram.StartAs(["ip", "netns", "exec", _namespaces[site]], _folder, [
            "silo", "--site", site, "--name", $"{site}-0", "--cluster", $"redis://{AddressOf(Hub)}:6379", "--listen", AddressOf(site),
            "--tls", Path.Combine(_folder, "certificates", site), "--store", "cluster", "--site-store", $"store-{site}",
            "--control", $"127.0.0.1:{ControlPortOf(site)}",
        ]);
        await silo.UntilAsync(() => silo.Output.Contains("serves", StringComparison.Ordinal), $"silo of {site}");
    }

    /// <summary>A site's silo, which may have ended.</summary>
    public RunningProgram SiloOf(string site) => _silos[site];

    /// <summary>Runs a command on a site's machine, which asks the silo there.</summary>
    public RunningProgram Command(string site, params string[] arguments) => RunningProgram.StartAs(
        ["ip", "netns", "exec", _namespaces[site]], _folder, [.. arguments, "--server", $"http://127.0.0.1:{ControlPortOf(site)}"]);

    /// <summary>The same, to its end; returns what it wrote and its exit code.</summary>
    public async Task<(int Code, string Output)> RunAsync(string site, params string[] arguments)
    {
        await using var program = Command(site, arguments);
        return (await program.ExitAsync(), program.Output);
    }

    /// <summary>Cuts a site off, or connects it again.</summary>
    public void Cut(string site, bool isCut) => Wire.Cut(_devices[site], isCut);

    public async ValueTask DisposeAsync()
    {
        foreach (var silo in _silos.Values) await silo.DisposeAsync();
        if (_redis is { HasExited: false })
        {
            _redis.Kill();
            await _redis.WaitForExitAsync();
        }

        _redis?.Dispose();
        Wire.Dispose();
        foreach (var name in _namespaces.Values) Run("ip", "netns", "delete", name);
    }

    private string AddressOf(string site) => $"10.77.0.{(site == Hub ? 254 : _sites.ToList().IndexOf(site) + 1)}";

    private int ControlPortOf(string site) => 8470 + _sites.ToList().IndexOf(site); // the token's file of a port is this user's

    private void MakeNamespaces()
    {
        foreach (var (site, name) in _namespaces)
        {
            Must("ip", "netns", "add", name);
            Must("ip", "link", "set", _devices[site], "netns", name);
            Must("ip", "-n", name, "address", "add", $"{AddressOf(site)}/24", "dev", _devices[site]);
            Must("ip", "-n", name, "link", "set", "lo", "up");
            Must("ip", "-n", name, "link", "set", _devices[site], "up");
        }
    }

    private void MakeCertificates()
    {
        var now = TimeProvider.System.GetUtcNow();
        using var authority = Issuing.Authority("sites of a test", now - Issuing.BeforeIssue, now.AddDays(1));
        foreach (var site in _sites)
            SiteCertificate.Write(Path.Combine(_folder, "certificates", site), authority, site,
                now - Issuing.BeforeIssue, now.AddHours(12), IPAddress.Parse(AddressOf(site)));
    }

    private async Task StartRedisAsync()
    {
        _redis = Process.Start(new ProcessStartInfo("ip",
        [
            "netns", "exec", _namespaces[Hub], "redis-server", "--port", "6379", "--bind", AddressOf(Hub), "--protected-mode", "no",
            "--save", "", "--appendonly", "no",
        ]) { RedirectStandardOutput = true })!;
        _ = _redis.StandardOutput.ReadToEndAsync(); // or its pipe fills up
        for (var tries = 0; Run("ip", "netns", "exec", _namespaces[Hub], "redis-cli", "-h", AddressOf(Hub), "ping") is { } fault; tries++)
        {
            Assert.True(tries < 200 && !_redis.HasExited, $"Redis does not answer in its namespace: {fault}");
            await Task.Delay(50);
        }
    }

    private static void Must(params string[] command) => Assert.Null(Run(command));

    private static string? Run(params string[] command)
    {
        try
        {
            using var process = Process.Start(
                new ProcessStartInfo(command[0], command[1..]) { RedirectStandardError = true, RedirectStandardOutput = true })!;
            var said = process.StandardError.ReadToEnd(); // what such a command writes on success fits into a pipe
            process.WaitForExit();
            return process.ExitCode == 0 ? null : $"{string.Join(' ', command)}: {said.Trim()}";
        }
        catch (System.ComponentModel.Win32Exception e)
        {
            return $"{command[0]}: {e.Message}";
        }
    }
}

/// <summary>A test that needs <see cref="SiteNamespaces"/>.</summary>
[AttributeUsage(AttributeTargets.Method)]
internal sealed class NamespaceFactAttribute : FactAttribute
{
    public NamespaceFactAttribute() => Skip = SiteNamespaces.Missing;
}

/// <summary>A longer one, of <c>make soak</c>.</summary>
[AttributeUsage(AttributeTargets.Method)]
internal sealed class NamespaceSoakAttribute : FactAttribute
{
    public NamespaceSoakAttribute() => Skip = SiteNamespaces.Missing
        ?? (Soaks ? null : "takes minutes: set FEDRLORA_SOAK=1, as make soak does");

    /// <summary>Whether the long tests run.</summary>
    public static bool Soaks { get; } = Environment.GetEnvironmentVariable("FEDRLORA_SOAK") == "1";
}
