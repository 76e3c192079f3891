using System.Diagnostics;
using System.Net.Sockets;
using FedRLora.Silo;

namespace FedRLora.EndToEnd.Tests;

/// <summary>A Redis server of Debian's on loopback that keeps nothing, and goes with this process however that ends.</summary>
internal sealed class RedisServer : IAsyncDisposable
{
    private const string Program = "redis-server";
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(20);
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("fedrlora-redis-");
    private readonly string[] _more;
    private Process _shell;

    private RedisServer(int port, bool tls, string[] more)
    {
        (_more, Location) = (more, new ClusterLocation.Redis("127.0.0.1", port, 0) { Tls = tls });
        _shell = Launch();
    }

    /// <summary>Why tests that need one are skipped; null where it is installed.</summary>
    public static string? Missing { get; } =
        Environment.GetEnvironmentVariable("PATH")!.Split(':').Any(static folder => File.Exists(Path.Combine(folder, Program)))
            ? null
            : $"{Program} is not installed (apt-get install {Program})";

    /// <summary>Where it is.</summary>
    public ClusterLocation.Redis Location { get; }

    public static Task<RedisServer> StartAsync(params string[] more) => StartAsync(tls: false, more);

    /// <summary>One that speaks TLS alone.</summary>
    /// <param name="certificate">Its certificate's file.</param>
    /// <param name="key">Its key's file.</param>
    /// <param name="authorities">Who may have issued the certificates of clients.</param>
    /// <param name="more">More options.</param>
    public static Task<RedisServer> StartTlsAsync(string certificate, string key, string authorities, params string[] more) =>
        StartAsync(tls: true,
            ["--tls-cert-file", certificate, "--tls-key-file", key, "--tls-ca-cert-file", authorities, .. more]);

    private static async Task<RedisServer> StartAsync(bool tls, string[] more)
    {
        var server = new RedisServer(SiloPorts.Free().Silo, tls, more);
        try
        {
            await server.AnswersAsync();
            return server;
        }
        catch
        {
            await server.DisposeAsync();
            throw;
        }
    }

    /// <summary>kill -9.</summary>
    public async Task KillAsync()
    {
        _shell.StandardInput.Close();
        await _shell.WaitForExitAsync();
    }

    /// <summary>Starts it again after <see cref="KillAsync"/>, on the same port, with nothing in it; returns when it answers.</summary>
    public async Task StartEmptyAsync()
    {
        _shell.Dispose();
        _shell = Launch();
        await AnswersAsync();
    }

    public async ValueTask DisposeAsync()
    {
        if (!_shell.HasExited) await KillAsync();
        _shell.Dispose();
        _folder.Delete(recursive: true);
    }

    private Process Launch()
    {
        // The shell waits for the end of its input, which comes when this process closes the pipe or is gone.
        string[] script =
        [
            "-c", "\"$@\" < /dev/null > /dev/null 2>&1 & server=$!; cat > /dev/null; kill -9 $server; wait", "sh",
            Program, .. Location.Tls ? (string[])["--port", "0", "--tls-port"] : ["--port"], $"{Location.Port}",
            "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir",
            _folder.FullName, .. _more,
        ];
        return Process.Start(new ProcessStartInfo("sh", script) { RedirectStandardInput = true })!;
    }

    private async Task AnswersAsync()
    {
        var started = Stopwatch.GetTimestamp();
        while (true)
        {
            try
            {
                using var client = new TcpClient();
                await client.ConnectAsync(Location.Host, Location.Port);
                return;
            }
            catch (SocketException) when (Stopwatch.GetElapsedTime(started) < Patience && !_shell.HasExited)
            {
                await Task.Delay(20);
            }
        }
    }
}

/// <summary>A test that needs <see cref="RedisServer"/>.</summary>
[AttributeUsage(AttributeTargets.Method)]
internal sealed class RedisFactAttribute : FactAttribute
{
    public RedisFactAttribute() => Skip = RedisServer.Missing;
}
