using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using Azure.Storage.Blobs;
using Azure.Storage.Sas;
using FedRLora.Abstractions.Ports;
using FedRLora.Silo.Storage;

namespace FedRLora.Grains.Tests.Stores;

/// <summary>Tests that share one blob server; they run one after the other, so each may stop it.</summary>
[CollectionDefinition(Name)]
public sealed class AzuriteCollection : ICollectionFixture<AzuriteServer>
{
    public const string Name = "azurite";
}

/// <summary>
/// Azurite on a free loopback port, in a temporary folder. It can go and come back on the same port and folder. It ends with the
/// test host, however that ends: a shell waits for the host's end of a pipe.
/// </summary>
public sealed class AzuriteServer : IAsyncLifetime
{
    /// <summary>Azurite's one account and its public key.</summary>
    public const string Account = "devstoreaccount1";
    public const string AccountKey = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
    private const string Closed = "successfully closed";
    private const string Watched = "\"$@\" > azurite.log 2>&1 < /dev/null & echo $!; read -r over; kill -9 $!";
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);
    private static readonly string? Program = FindProgram();
    private readonly string _folder = Directory.CreateTempSubdirectory("fedrlora-azurite-").FullName;
    private readonly int _port = FreePort();
    private Process? _shell;
    private int _server;

    /// <summary>Why tests that need it are skipped; null: they are not.</summary>
    public static string? Absent { get; } = Program is null
        ? "azurite is not installed: run npm ci in tests/azurite (Node.js is needed)" : null;

    /// <summary>The endpoint of its account.</summary>
    public string Endpoint => string.Create(CultureInfo.InvariantCulture, $"http://127.0.0.1:{_port}/{Account}");

    public string ConnectionString =>
        $"DefaultEndpointsProtocol=http;AccountName={Account};AccountKey={AccountKey};BlobEndpoint={Endpoint};";

    public async Task InitializeAsync()
    {
        if (Absent is null) await StartAsync();
    }

    /// <summary>A store in a container of its own, opened as a silo would.</summary>
    public IBlobStore NewStore(AzureStoreOptions? options = null, string prefix = "") =>
        Location($"{Endpoint}/c{Guid.NewGuid():n}/{prefix}".TrimEnd('/')).Open(options: options);

    /// <summary>A location of this server with the account's connection string.</summary>
    public StoreLocation Location(string url) =>
        StoreLocation.Parse(StoreRole.Job, url, variable => variable == StoreRole.Job.ConnectionStringVariable ? ConnectionString : null);

    /// <summary>A signature for what is in one container, valid for an hour.</summary>
    public string SasOf(string container, BlobContainerSasPermissions permissions)
    {
        var client = new BlobContainerClient(ConnectionString, container);
        return client.GenerateSasUri(permissions, TimeProvider.System.GetUtcNow().AddHours(1)).Query.TrimStart('?');
    }

    /// <summary>Starts it where it was and waits until it answers.</summary>
    public async Task StartAsync()
    {
        var start = new ProcessStartInfo("sh") { RedirectStandardInput = true, RedirectStandardOutput = true, WorkingDirectory = _folder };
        foreach (var argument in new[]
        {
            "-c", Watched, "azurite", "node", Program!, "--blobHost", "127.0.0.1", "--blobPort",
            _port.ToString(CultureInfo.InvariantCulture), "--blobKeepAliveTimeout", "60", "--skipApiVersionCheck", "--silent",
            "--disableTelemetry", "--location", _folder,
        })
            start.ArgumentList.Add(argument);
        _shell = Process.Start(start)!;
        _server = int.Parse((await _shell.StandardOutput.ReadLineAsync())!, CultureInfo.InvariantCulture);
        using var patience = new CancellationTokenSource(Patience);
        while (!await AnswersAsync(patience.Token))
        {
            if (_shell.HasExited || patience.IsCancellationRequested)
                throw new InvalidOperationException($"azurite did not start: {await LogAsync()}");
            await Task.Delay(50);
        }
    }

    /// <summary>Stops it as an operator would: what it has acknowledged is on its disk.</summary>
    public async Task StopAsync()
    {
        using (var terminate = Process.Start("sh", ["-c", string.Create(CultureInfo.InvariantCulture, $"kill -TERM {_server}")]))
            await terminate.WaitForExitAsync();
        using var patience = new CancellationTokenSource(TimeSpan.FromSeconds(5));
        // a request that hangs must not hold it up
        while (!(await LogAsync()).Contains(Closed, StringComparison.Ordinal) && !patience.IsCancellationRequested) await Task.Delay(20);
        await KillAsync();
    }

    /// <summary>Kills it: the writes of its last seconds may be lost, because it saves its index every five.</summary>
    public async Task KillAsync()
    {
        if (_shell is null) return;
        _shell.StandardInput.Close();
        await _shell.WaitForExitAsync();
        _shell.Dispose();
        _shell = null;
    }

    public async Task DisposeAsync()
    {
        await KillAsync();
        Directory.Delete(_folder, recursive: true);
    }

    /// <summary>A port of loopback that nobody listens on.</summary>
    public static int FreePort()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }

    private async Task<bool> AnswersAsync(CancellationToken cancellationToken)
    {
        try
        {
            using var http = new HttpClient();
            using var answer = await http.GetAsync(new Uri(Endpoint), cancellationToken);
            return true;
        }
        catch (Exception e) when (e is HttpRequestException or OperationCanceledException)
        {
            return false;
        }
    }

    private Task<string> LogAsync() => File.ReadAllTextAsync(Path.Combine(_folder, "azurite.log"));

    private static string? FindProgram()
    {
        var root = new DirectoryInfo(AppContext.BaseDirectory);
        while (root is not null && !File.Exists(Path.Combine(root.FullName, "FedRLora.sln"))) root = root.Parent;
        var program = root is null
            ? null
            : Path.Combine(root.FullName, "tests", "azurite", "node_modules", "azurite", "dist", "src", "blob", "main.js");
        var hasNode = (Environment.GetEnvironmentVariable("PATH") ?? "").Split(Path.PathSeparator)
            .Any(static folder => File.Exists(Path.Combine(folder, "node")));
        return hasNode && File.Exists(program) ? program : null;
    }
}
