using System.Net.Http.Headers;
using System.Net.Security;
using System.Security.Cryptography.X509Certificates;
using FedRLora.ControlPlane;
using FedRLora.ControlPlane.Access;
using FedRLora.ControlPlane.Http;
using FedRLora.Pki;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace FedRLora.Grains.Tests.Control;

/// <summary>One silo whose control plane speaks https on loopback, with several people's tokens and an authority.</summary>
internal sealed class TlsControl : IAsyncDisposable
{
    public const string Run = "known", North = "c00000", South = "c00001";
    private readonly string _folder = Directory.CreateTempSubdirectory("fedrlora-control-").FullName;
    private readonly Dictionary<string, string> _tokens = [];

    private TlsControl(TestFederation federation) => Federation = federation;

    public TestFederation Federation { get; }

    public TestAuthority Authority { get; } = new();

    public ControlServer Server { get; private set; } = null!;

    public string Folder => Path.Combine(_folder, "tls");

    public string TokensFile => Path.Combine(_folder, "tokens");

    public static async Task<TlsControl> StartAsync(Func<ControlOptions, ControlOptions>? with = null, TestFederation? federation = null)
    {
        var started = new TlsControl(federation ?? await TestFederation.StartAsync());
        started.Authority.Write(started.Folder, started.Authority.Server());
        await File.WriteAllTextAsync(started.TokensFile, "# people\n");
        File.SetUnixFileMode(started.TokensFile, UnixFileMode.UserRead | UnixFileMode.UserWrite);
        foreach (var (name, roles) in new[]
        {
            ("vera", "viewer"), ("otto", "operator"), ("nora", "site:north"), ("sara", "site:south"), ("both", "operator,site:north"),
        })
            started.Add(name, roles);
        var services = started.Federation.Cluster.Silos[0].ServiceProvider;
        var options = ControlOptions.OnPort(0) with { Tls = TlsFiles.In(started.Folder), TokensFile = started.TokensFile };
        started.Server = new ControlServer(
            with?.Invoke(options) ?? options, ControlServices.Of(services), services.GetRequiredService<ILoggerFactory>());
        await started.Server.StartAsync(CancellationToken.None);
        return started;
    }

    /// <summary>A finished run with a client at each of two sites.</summary>
    public Task<string> RunAsync() => Federation.RunAsync(
        Run, TestFederation.Plan(clients: 2, rounds: 1, site: static i => i == 0 ? "north" : "south"),
        new CancellationTokenSource(TimeSpan.FromMinutes(1)).Token);

    /// <summary>Gives somebody a token.</summary>
    public void Add(string name, string roles, string more = "")
    {
        _tokens[name] = TokenEntry.NewToken();
        File.AppendAllText(TokensFile,
            $"{new TokenEntry(name, Rights.Parse("roles", roles), TokenEntry.HashOf(_tokens[name]), null)}{more}\n");
    }

    public string TokenOf(string name) => _tokens[name];

    /// <summary>Who has the token of a name.</summary>
    public HttpClient As(string name) => With(TokenOf(name));

    /// <summary>Who has a certificate of the authority.</summary>
    public HttpClient Holding(params string[] names) => With(token: null, Authority.Issue(names));

    /// <summary>A caller, with a token and a certificate or without; the server has to be the authority's.</summary>
    /// <param name="token">The token; null for none.</param>
    /// <param name="certificate">The certificate; null for none.</param>
    /// <param name="version">The version of HTTP; null for any.</param>
    /// <param name="anyName">Whether the server's certificate may lack the name that is asked for, as behind what ends TLS.</param>
    public HttpClient With(string? token, X509Certificate2? certificate = null, Version? version = null, bool anyName = false)
    {
        var client = new HttpClient(new SocketsHttpHandler
        {
            AllowAutoRedirect = false, UseCookies = false,
            SslOptions = new SslClientAuthenticationOptions
            {
                CertificateChainPolicy = new X509ChainPolicy
                {
                    TrustMode = X509ChainTrustMode.CustomRootTrust, CustomTrustStore = { Authority.Root },
                    RevocationMode = X509RevocationMode.NoCheck,
                },
                RemoteCertificateValidationCallback = !anyName ? null : static (_, _, _, errors) =>
                    (errors & ~SslPolicyErrors.RemoteCertificateNameMismatch) == SslPolicyErrors.None,
                ClientCertificateContext = certificate is null ? null
                    : SslStreamCertificateContext.Create(certificate, additionalCertificates: null, offline: true),
            },
        })
        {
            BaseAddress = Server.Address,
        };
        if (version is not null) (client.DefaultRequestVersion, client.DefaultVersionPolicy) = (version,
            HttpVersionPolicy.RequestVersionExact);
        if (token is not null) client.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", token);
        return client;
    }

    public async ValueTask DisposeAsync()
    {
        await Server.StopAsync(CancellationToken.None);
        await Server.DisposeAsync();
        await Federation.DisposeAsync();
        Directory.Delete(_folder, recursive: true);
    }
}
