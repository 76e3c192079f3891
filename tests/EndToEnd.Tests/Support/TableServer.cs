using System.Diagnostics;
using System.Globalization;
using System.Net.Sockets;
using FedRLora.Silo;
using FedRLora.Silo.Storage;

namespace FedRLora.EndToEnd.Tests;

/// <summary>Azurite's tables on loopback, in its memory; they go with this process however that ends.</summary>
internal sealed class TableServer : IAsyncDisposable
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);
    private static readonly string Program = Path.Combine(
        Repository.Root, "tests", "azurite", "node_modules", "azurite", "dist", "src", "table", "main.js");

    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("fedrlora-tables-");
    private readonly Process _shell;

    private TableServer()
    {
        var port = FreePorts.Take(1)[0];
        Endpoint = string.Create(CultureInfo.InvariantCulture, $"http://127.0.0.1:{port}/devstoreaccount1");
        string[] script =
        [
            "-c", "\"$@\" < /dev/null > azurite.log 2>&1 & server=$!; cat > /dev/null; kill -9 $server; wait", "sh",
            "node", Program, "--tableHost", "127.0.0.1", "--tablePort", $"{port}", "--skipApiVersionCheck", "--silent",
            "--disableTelemetry", "--inMemoryPersistence",
        ];
        _shell = Process.Start(new ProcessStartInfo("sh", script) { RedirectStandardInput = true, WorkingDirectory = _folder.FullName })!;
    }

    /// <summary>Why tests that need it are skipped; null where it is installed.</summary>
    public static string? Missing { get; } =
        File.Exists(Program) && Environment.GetEnvironmentVariable("PATH")!.Split(':').Any(static folder => File.Exists($"{folder}/node"))
            ? null
            : "azurite is not installed: run npm ci in tests/azurite (Node.js is needed)";

    /// <summary>The endpoint of its account.</summary>
    public string Endpoint { get; }

    /// <summary>A table for a membership.</summary>
    public ClusterLocation.AzureTable Location => new(Endpoint, "silos");

    /// <summary>What opens it.</summary>
    public string ConnectionString => "DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;"
        + $"AccountKey=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==;TableEndpoint={Endpoint};";

    /// <summary>The environment of a silo that keeps its membership there.</summary>
    public (string Name, string Value) Variable => (StoreRole.Cluster.ConnectionStringVariable, ConnectionString);

    public static async Task<TableServer> StartAsync()
    {
        var server = new TableServer();
        var started = Stopwatch.GetTimestamp();
        while (true)
        {
            try
            {
                using var client = new TcpClient();
                await client.ConnectAsync("127.0.0.1", new Uri(server.Endpoint).Port);
                return server;
            }
            catch (SocketException) when (Stopwatch.GetElapsedTime(started) < Patience && !server._shell.HasExited)
            {
                await Task.Delay(50);
            }
            catch (SocketException)
            {
                await server.DisposeAsync();
                throw;
            }
        }
    }

    public async ValueTask DisposeAsync()
    {
        _shell.StandardInput.Close();
        await _shell.WaitForExitAsync();
        _shell.Dispose();
        _folder.Delete(recursive: true);
    }
}

/// <summary>A test that needs <see cref="TableServer"/>.</summary>
[AttributeUsage(AttributeTargets.Method)]
internal class TableFactAttribute : FactAttribute
{
    public TableFactAttribute() => Skip = TableServer.Missing;
}

/// <summary>One that takes minutes and runs with FEDRLORA_SOAK=1 alone.</summary>
[AttributeUsage(AttributeTargets.Method)]
internal sealed class TableSoakFactAttribute : TableFactAttribute
{
    public TableSoakFactAttribute()
    {
        if (Environment.GetEnvironmentVariable("FEDRLORA_SOAK") != "1") Skip ??= "takes minutes: make soak runs it";
    }
}
