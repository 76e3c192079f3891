using System.Collections.Concurrent;
using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Reflection;
using System.Security.Authentication;
using System.Security.Cryptography.X509Certificates;
using FedRLora.Abstractions.Grains;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Ports;
using FedRLora.Pki;
using FedRLora.Silo.Clustering;
using FedRLora.Silo.Storage;
using FedRLora.Silo.Tls;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using Orleans.Configuration;
using Orleans.Hosting;
using Orleans.Runtime;
using Orleans.Runtime.Hosting;
using Orleans.Serialization;

namespace FedRLora.Grains.Tests.Tls;

/// <summary>Silos of this process that talk over sockets and mutual TLS, with a membership outside them.</summary>
internal sealed class TlsSilos : IAsyncDisposable, IDisposable
{
    private readonly List<TlsSilo> _silos = [];
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("fedrlora-tls-");

    public TestAuthority Authority { get; } = new();

    public SharedTable Table { get; } = new();

    public FakeTrainer Trainer { get; } = new();

    /// <summary>The folder of a silo's certificate.</summary>
    public string FolderOf(string silo) => Path.Combine(_folder.FullName, silo);

    /// <summary>Makes a silo ready, with a certificate of its site unless its folder is there already.</summary>
    public TlsSilo Create(string name, string site, Func<TlsSettings, TlsSettings>? change = null, int? port = null)
    {
        if (!Directory.Exists(FolderOf(name))) TestAuthority.Write(FolderOf(name), Authority.IssueSite(site), Authority.Pem);
        var settings = new TlsSettings(TlsFiles.In(FolderOf(name)), SanNames.DefaultDomain, name, [site])
        {
            LookEvery = TimeSpan.FromMilliseconds(200), OwnPatience = TimeSpan.FromSeconds(1), HandshakeTimeout = TimeSpan.FromSeconds(2),
        };
        settings = change?.Invoke(settings) ?? settings;
        var (silo, gateway) = (port ?? FreePort(), FreePort());
        var lines = new Lines();
        var builder = Host.CreateApplicationBuilder(new HostApplicationBuilderSettings { DisableDefaults = true });
        builder.Services.Configure<HostOptions>(static host => host.ShutdownTimeout = TimeSpan.FromSeconds(2));
        builder.Logging.SetMinimumLevel(LogLevel.Information).AddFilter("Orleans", LogLevel.Error).AddFilter("Microsoft", LogLevel.Error)
            .AddProvider(lines);
        builder.Services.AddSingleton(TimeProvider.System).AddSingleton<SiloEnding>();
        builder.Services.AddSingleton<ITrainer>(Trainer).AddSingleton<IAdapterExporter>(Trainer).AddSingleton<IPrompter>(Trainer)
            .AddSingleton<IRunInputs>(new FakeInputs())
            .AddSingleton<IBlobStores>(new OneStore(new DirectoryBlobStore(Path.Combine(_folder.FullName, "store"))))
            .AddGrainStorage(FederationSiloBuilderExtensions.StorageName,
                static (services, _) => new BlobGrainStorage(services.GetRequiredService<IBlobStores>().Job));
        builder.Services.AddSingleton<IMembershipTable>(Table);
        builder.Services.AddSingleton<IFatalErrorHandler>(new QuietEnd(lines)); // Orleans' own ends the process
        builder.UseOrleans(orleans => orleans
            .ConfigureEndpoints(IPAddress.Loopback, silo, gateway)
            .Configure<ClusterMembershipOptions>(static membership =>
            {
                membership.ProbeTimeout = TimeSpan.FromSeconds(1);
                membership.NumMissedProbesLimit = 2;
                membership.NumVotesForDeathDeclaration = 2;
                membership.TableRefreshTimeout = TimeSpan.FromSeconds(2);
                membership.MaxJoinAttemptTime = TimeSpan.FromSeconds(4);
            })
            .AddTls(settings)
            .AddFederation(new SiloIdentity(name, [site]),
                new GrainSettings { ResendAfter = TimeSpan.FromMilliseconds(500), ReviveEvery = TimeSpan.FromSeconds(2) }));
        builder.Services.AddSingleton<CloneWatch>().AddHostedService(static services => services.GetRequiredService<CloneWatch>());
        var host = new TlsSilo(builder.Build(), lines, silo, gateway);
        _silos.Add(host);
        return host;
    }

    public async Task<TlsSilo> StartAsync(string name, string site, Func<TlsSettings, TlsSettings>? change = null)
    {
        var silo = Create(name, site, change);
        await silo.Host.StartAsync();
        return silo;
    }

    public static int FreePort()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }

    public async ValueTask DisposeAsync()
    {
        foreach (var silo in Enumerable.Reverse(_silos)) await silo.DisposeAsync();
        Dispose();
    }

    public void Dispose()
    {
        Authority.Dispose();
        if (Directory.Exists(_folder.FullName)) _folder.Delete(recursive: true);
    }

    private sealed record OneStore(IBlobStore Job) : IBlobStores
    {
        public IBlobStore Site => Job;
    }

    private sealed class QuietEnd(Lines lines) : IFatalErrorHandler
    {
        public bool IsUnexpected(Exception exception) => true;

        public void OnFatalException(object? sender, string? context, Exception? exception) => lines.Add($"fatal: {context}");
    }
}

/// <summary>A silo of <see cref="TlsSilos"/>.</summary>
internal sealed class TlsSilo(IHost host, Lines lines, int siloPort, int gatewayPort) : IAsyncDisposable
{
    public IHost Host => host;

    public Lines Log => lines;

    public int SiloPort => siloPort;

    public int GatewayPort => gatewayPort;

    public SiloAddress Address => host.Services.GetRequiredService<ILocalSiloDetails>().SiloAddress;

    public OpenConnections Open => host.Services.GetRequiredService<OpenConnections>();

    public IRunControlGrain Coordinator(string job) => host.Services.GetRequiredService<IGrainFactory>().GetGrain<IRunControlGrain>(job);

    /// <summary>Whether it answers what a peer says first; false where it closes the connection.</summary>
    public async Task<bool> AnswersAsync(int port, X509Certificate2? shown, byte[] first)
    {
        try
        {
            await using var held = await HeldConnection.OpenAsync(port, shown, first);
            return true;
        }
        catch (Exception e) when (e is IOException or AuthenticationException)
        {
            return false;
        }
    }

    /// <summary>The serial number that it shows to who connects.</summary>
    public static async Task<string> SerialAsync(int port, X509Certificate2 shown)
    {
        await using var stream = await HeldConnection.ShakeAsync(port, shown);
        return DenyList.Serial(((X509Certificate2)stream.RemoteCertificate!).SerialNumber);
    }

    /// <summary>What a silo, or a cluster client, says first.</summary>
    public byte[] Preamble(SiloAddress? silo)
    {
        var type = Type.GetType(PreambleReader.TypeName, throwOnError: true)!;
        var said = Activator.CreateInstance(type)!;
        void Set(string name, object? value) => type.GetProperty(name)!.SetValue(said, value);
        Set("NetworkProtocolVersion", host.Services.GetRequiredService<IOptions<ConnectionOptions>>().Value.ProtocolVersion);
        Set("NodeIdentity", silo is null
            ? GrainId.Create(GrainType.Create("sys.client"), "test")
            : Type.GetType("Orleans.Runtime.Constants, Orleans.Core", throwOnError: true)!
                .GetField("SiloDirectConnectionId", BindingFlags.Static | BindingFlags.Public | BindingFlags.NonPublic)!.GetValue(null));
        Set(PreambleReader.PropertyName, silo);
        Set("ClusterId", host.Services.GetRequiredService<IOptions<ClusterOptions>>().Value.ClusterId);
        var serializer = host.Services.GetRequiredService(typeof(Serializer<>).MakeGenericType(type));
        var bytes = (byte[])serializer.GetType().GetMethod("SerializeToArray", [type])!.Invoke(serializer, [said])!;
        return [.. BitConverter.GetBytes(bytes.Length), .. bytes];
    }

    public async ValueTask DisposeAsync()
    {
        try
        {
            using var enough = new CancellationTokenSource(TimeSpan.FromSeconds(3));
            await host.StopAsync(enough.Token);
        }
        catch (Exception e) when (e is OperationCanceledException or AggregateException or InvalidOperationException)
        {
            lines.Add($"stopped: {e.Message}"); // one that never started has nothing to stop
        }

        if (host is IAsyncDisposable disposable) await disposable.DisposeAsync();
    }
}

/// <summary>A connection that a peer answered.</summary>
internal sealed class HeldConnection(SslStream stream) : IAsyncDisposable
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(15);

    /// <summary>A handshake with whoever listens.</summary>
    /// <param name="port">Its port on loopback.</param>
    /// <param name="shown">The certificate to show; null for none.</param>
    public static async Task<SslStream> ShakeAsync(int port, X509Certificate2? shown)
    {
        var client = new TcpClient();
        await client.ConnectAsync(IPAddress.Loopback, port);
        var stream = new SslStream(client.GetStream(), false, static (_, shown, _, _) => shown is not null);
        await stream.AuthenticateAsClientAsync(new SslClientAuthenticationOptions
        {
            TargetHost = "x", EnabledSslProtocols = SslProtocols.Tls12 | SslProtocols.Tls13, AllowTlsResume = true,
            LocalCertificateSelectionCallback = (_, _, _, _, _) => shown!,
        });
        return stream;
    }

    /// <summary>A handshake, then some bytes, which have to be answered.</summary>
    /// <exception cref="IOException">It was closed instead.</exception>
    public static async Task<HeldConnection> OpenAsync(int port, X509Certificate2? shown, byte[] first)
    {
        var stream = await ShakeAsync(port, shown);
        await stream.WriteAsync(first);
        using var enough = new CancellationTokenSource(Patience);
        return await stream.ReadAsync(new byte[1024], enough.Token) > 0 ? new(stream) : throw new IOException("closed");
    }

    /// <summary>Reads until the other end closes.</summary>
    public async Task ClosedAsync(TimeSpan within)
    {
        using var enough = new CancellationTokenSource(within);
        try
        {
            while (await stream.ReadAsync(new byte[1024], enough.Token) > 0)
            {
            }
        }
        catch (IOException)
        {
            // reset
        }
    }

    public ValueTask DisposeAsync() => stream.DisposeAsync();
}

/// <summary>What was logged.</summary>
internal sealed class Lines : ILoggerProvider
{
    private readonly ConcurrentQueue<string> _lines = new();

    public IReadOnlyList<string> All => [.. _lines];

    public void Add(string line) => _lines.Enqueue(line);

    public int Count(string part) => _lines.Count(line => line.Contains(part, StringComparison.Ordinal));

    /// <summary>Waits for a line.</summary>
    public async Task<string> UntilAsync(string part, int seconds = 20)
    {
        var until = TimeProvider.System.GetUtcNow() + TimeSpan.FromSeconds(seconds);
        while (true)
        {
            if (_lines.FirstOrDefault(line => line.Contains(part, StringComparison.Ordinal)) is { } found) return found;
            Assert.True(TimeProvider.System.GetUtcNow() < until, $"no line with \"{part}\" among:\n{string.Join('\n', _lines)}");
            await Task.Delay(20);
        }
    }

    public ILogger CreateLogger(string categoryName) => new Logger(this);

    public void Dispose()
    {
    }

    private sealed class Logger(Lines lines) : ILogger
    {
        public IDisposable? BeginScope<TState>(TState state) where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => true;

        public void Log<TState>(
            LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter) =>
            lines.Add(formatter(state, exception));
    }
}
