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

    private RedisServer(int port, string[] more)
    {
        (_more, Location) = (more, new ClusterLocation.Redis("127.0.0.1", port, 0));
        _shell = Launch();
    }

    /// <summary>Why tests that need one are skipped; null where it is installed.</summary>
    public static string? Missing { get; } =
        Environment.GetEnvironmentVariable("PATH")!.Split(':').Any(static folder => File.Exists(Path.Combine(folder, Program)))
            ? null
            : $"{Program} is not installed (apt-get install {Program})";

    /// <summary>Where it is.</summary>
    public ClusterLocation.Redis Location { get; }

    public static async Task<RedisServer> StartAsync(params string[] more)
    {
        var server = new RedisServer(SiloPorts.Free().Silo, more);
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
            Program, "--port", $"{Location.Port}", "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir",
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
