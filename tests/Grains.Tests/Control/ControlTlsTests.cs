using System.Diagnostics;
using System.Net;
using System.Net.Http.Json;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Authentication;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using FedRLora.Abstractions;
using FedRLora.ControlPlane;
using FedRLora.ControlPlane.Http;
using FedRLora.Pki;
using Xunit.Abstractions;

namespace FedRLora.Grains.Tests.Control;

/// <summary>The control plane over TLS: what it shows, whom it lets stay, and which names it answers to.</summary>
public class ControlTlsTests(ITestOutputHelper output)
{
    private static CancellationToken InTime => new CancellationTokenSource(TimeSpan.FromMinutes(1)).Token;

    [Fact]
    public async Task A_stream_ends_when_its_certificate_is_revoked_and_a_renewed_certificate_is_served_without_a_restart()
    {
        await using var control = await TlsControl.StartAsync();
        await control.Federation.Coordinator("long").SubmitAsync(TestFederation.Plan(rounds: 1));
        var certificate = control.Authority.Issue(["vera.viewers.fedrlora"]);
        using var revoked = control.With(token: null, certificate);
        using var other = control.Holding("otto.operators.fedrlora");
        await using var heard = await revoked.GetStreamAsync("/v1/events?run=long", InTime);
        await using var kept = await other.GetStreamAsync("/v1/events?run=long", InTime);
        var before = await ServedAsync(control);

        var since = Stopwatch.StartNew();
        await File.WriteAllTextAsync(TlsFiles.In(control.Folder).Denied, certificate.SerialNumber);
        var renewed = control.Authority.Server();
        control.Authority.Write(control.Folder, renewed);
        await Assert.ThrowsAnyAsync<IOException>(async () =>
        {
            var buffer = new byte[4096];
            while (await heard.ReadAsync(buffer, InTime) > 0)
            {
            }

            throw new IOException("ended");
        });
        var closed = since.Elapsed;
        await Eventually.Async(async () => await ServedAsync(control) == renewed.SerialNumber);
        output.WriteLine($"closed {closed.TotalSeconds:F2} s after the serial was written, renewed certificate served after "
            + $"{since.Elapsed.TotalSeconds:F2} s");

        Assert.InRange(closed.TotalSeconds, 0, 30);
        Assert.NotEqual(before, renewed.SerialNumber);
        await Assert.ThrowsAnyAsync<HttpRequestException>(() => revoked.GetAsync("/health/live"));
        using var alive = await other.GetAsync("/v1/runs");
        Assert.Equal(HttpStatusCode.OK, alive.StatusCode);
        Assert.True(kept.CanRead);
    }

    [Fact]
    public async Task What_is_not_tls_1_2_or_later_gets_no_answer_and_nothing_is_resumed()
    {
        await using var control = await TlsControl.StartAsync();
        using var plain = new HttpClient { BaseAddress = new Uri($"http://{control.Server.Address.Authority}") };
        await Assert.ThrowsAnyAsync<HttpRequestException>(() => plain.GetAsync("/health/live"));

        var since = Stopwatch.StartNew();
        using var foreign = control.With(token: null, new TestAuthority("another").Issue(["otto.operators.fedrlora"]));
        await Assert.ThrowsAnyAsync<HttpRequestException>(() => foreign.GetAsync("/health/live"));
        output.WriteLine($"a foreign certificate was refused within {since.Elapsed.TotalMilliseconds:F0} ms");
        since.Restart();
        using var known = control.Holding("otto.operators.fedrlora");
        using (await known.GetAsync("/health/live")) output.WriteLine($"a connection with a certificate took "
            + $"{since.Elapsed.TotalMilliseconds:F0} ms");

        foreach (var protocol in new[] { SslProtocols.Tls12, SslProtocols.Tls13 })
        {
            for (var i = 0; i < 2; i++)
            {
                using var tcp = new TcpClient();
                await tcp.ConnectAsync(IPAddress.Loopback, control.Server.Address.Port);
                await using var stream = new SslStream(tcp.GetStream(), leaveInnerStreamOpen: false);
                await stream.AuthenticateAsClientAsync(new SslClientAuthenticationOptions
                {
                    TargetHost = "control.example", EnabledSslProtocols = protocol, AllowTlsResume = true,
                    RemoteCertificateValidationCallback = static (_, shown, _, _) => shown is not null,
                }, InTime);
                Assert.Equal(protocol, stream.SslProtocol);
                Assert.NotNull(stream.RemoteCertificate); // a session that is resumed brings none over the wire, but a full one always does
            }
        }
    }

    [Fact]
    public async Task Nothing_is_fetched_for_a_certificate_of_a_stranger()
    {
        await using var control = await TlsControl.StartAsync();
        using var elsewhere = new TcpListener(IPAddress.Loopback, 0);
        elsewhere.Start();
        using var issuerKey = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var authority = new CertificateRequest("CN=unknown", issuerKey, HashAlgorithmName.SHA256);
        authority.CertificateExtensions.Add(X509BasicConstraintsExtension.CreateForCertificateAuthority());
        using var issuer = authority.CreateSelfSigned(TestAuthority.Now.AddDays(-1), TestAuthority.Now.AddDays(2));
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var request = new CertificateRequest("CN=stranger", key, HashAlgorithmName.SHA256);
        request.CertificateExtensions.Add(
            new X509AuthorityInformationAccessExtension([], [$"http://{elsewhere.LocalEndpoint}/issuer.crt"]));
        using var leaf = request.Create(issuer, TestAuthority.Now.AddHours(-1), TestAuthority.Now.AddDays(1), [1, 2, 3]);
        using var pair = leaf.CopyWithPrivateKey(key);
        using var stranger = control.With(token: null, X509CertificateLoader.LoadPkcs12(pair.Export(X509ContentType.Pkcs12), null));

        await Assert.ThrowsAnyAsync<HttpRequestException>(() => stranger.GetAsync("/health/live"));

        Assert.False(elsewhere.Pending());
    }

    [Fact]
    public async Task Streams_and_calls_go_over_http_2()
    {
        await using var control = await TlsControl.StartAsync();
        using var caller = control.With(control.TokenOf("vera"), version: HttpVersion.Version20);
        using var answer = await caller.GetAsync("/v1/runs");
        Assert.Equal((HttpStatusCode.OK, HttpVersion.Version20), (answer.StatusCode, answer.Version));
    }

    [Fact]
    public async Task It_answers_to_the_names_of_its_certificate_and_to_those_that_were_named()
    {
        await using var control = await TlsControl.StartAsync(static options => options with { Names = ["named.example", "10.9.8.7"] });
        using var caller = control.With(control.TokenOf("vera"), anyName: true);
        foreach (var (host, expected) in new[]
        {
            ("control.example", HttpStatusCode.OK), ("CONTROL.example:443", HttpStatusCode.OK), ("named.example", HttpStatusCode.OK),
            ("10.9.8.7", HttpStatusCode.OK), ("127.0.0.1", HttpStatusCode.OK), ("localhost", HttpStatusCode.OK),
            ("evil.example", HttpStatusCode.MisdirectedRequest), ("10.0.0.1", HttpStatusCode.MisdirectedRequest),
            ("control.example.evil", HttpStatusCode.MisdirectedRequest),
        })
        {
            using var asked = new HttpRequestMessage(HttpMethod.Get, "/v1/runs") { Headers = { Host = host } };
            using var answer = await caller.SendAsync(asked);
            Assert.Equal((host, expected), (host, answer.StatusCode));
        }
    }

    [Fact]
    public async Task A_browser_has_the_name_and_the_rights_of_who_lets_it_in_and_loses_them_with_him()
    {
        await using var control = await TlsControl.StartAsync();
        control.Add("paul", "operator");
        await Task.Delay(1100); // the file is looked at once a second
        using var paul = control.As("paul");
        using var stranger = control.With(token: null);

        var made = await paul.PostJsonAsync("/v1/entrances", "{}").ReadAsync();
        var address = new Uri(made.GetProperty("address").GetString()!);
        Assert.Equal("https", address.Scheme);
        using var entered = await stranger.GetAsync(address.PathAndQuery);
        var cookie = entered.Headers.GetValues("Set-Cookie").Single();
        Assert.Matches("^__Host-fedrlora-\\d+=[^;]+; path=/; secure; samesite=strict; httponly$", cookie);
        stranger.DefaultRequestHeaders.Add("Cookie", cookie.Split(';')[0]);

        await stranger.GetAsync("/v1/runs").ReadAsync();
        using (var foreign = new HttpRequestMessage(HttpMethod.Post, "/v1/runs/x/cancel")
        {
            Content = JsonContent.Create(new { }), Headers = { { "Origin", "https://evil.example" } },
        })
            await stranger.SendAsync(foreign).RefusalAsync(HttpStatusCode.Forbidden);
        await stranger.PostJsonAsync("/v1/runs/x/cancel", "{}").RefusalAsync(HttpStatusCode.NotFound); // it may, and there is none
        Assert.Equal("a browser lets no other in", await stranger.PostJsonAsync("/v1/entrances",
            "{}").RefusalAsync(HttpStatusCode.Forbidden));

        control.Federation.Trainer.BeforeTraining = static (_, token) => Task.Delay(Timeout.Infinite, token);
        using var otto = control.As("otto");
        await otto.SubmitAsync(TestFederation.Plan(), "known").ReadAsync(HttpStatusCode.Created);
        using var events = await stranger.GetAsync("/v1/runs/known/events", HttpCompletionOption.ResponseHeadersRead);

        await File.WriteAllLinesAsync(control.TokensFile, (await File.ReadAllLinesAsync(control.TokensFile)).Where(static line =>
            !line.StartsWith("paul ")));
        await Task.Delay(1100);
        await stranger.GetAsync("/v1/runs").RefusalAsync(HttpStatusCode.Unauthorized);
        await events.Content.ReadAsStringAsync().WaitAsync(TimeSpan.FromSeconds(30)); // it ends with the next sign of life
    }

    [Theory]
    [InlineData("0.0.0.0:8470")]
    [InlineData("[::]:8470")]
    [InlineData("10.0.0.5:1")]
    public void An_address_that_others_reach_is_refused_without_a_certificate(string text)
    {
        var options = ControlOptions.OnPort(0) with { Address = ControlOptions.Parse(text) };
        var refusal = Assert.Throws<BadInputException>(() => options.Checked());
        Assert.NotNull((options with { Tls = TlsFiles.In("x") }).Checked().Tls);
        Assert.StartsWith($"--control: {ControlOptions.Parse(text)} can be reached from other machines, so that it speaks https alone",
            refusal.Message);
    }

    [Fact]
    public async Task It_shows_a_certificate_that_browsers_know_and_judges_clients_by_the_authorities_of_the_silo()
    {
        var known = new TestAuthority("one that browsers know");
        var folder = Directory.CreateTempSubdirectory("fedrlora-control-").FullName;
        try
        {
            known.Write(folder, known.Server());
            ControlOptions With(ControlOptions options) => options with
            {
                Tls = TlsFiles.In(folder) with { Authorities = options.Tls!.Authorities, Denied = options.Tls.Denied },
            };
            Assert.Contains("others would refuse this certificate: none of the authorities", (await Assert.ThrowsAsync<BadInputException>(
                () => TlsControl.StartAsync(With))).Message, StringComparison.Ordinal);
            await using var control = await TlsControl.StartAsync(options => With(options) with { IsPublic = true });
            using var otto = Trusting(known, control, control.Authority.Issue(["otto.operators.fedrlora"]));
            using var stranger = Trusting(known, control, known.Issue(["otto.operators.fedrlora"]));

            await otto.GetAsync("/v1/runs").ReadAsync();
            await Assert.ThrowsAnyAsync<HttpRequestException>(() => stranger.GetAsync("/v1/runs"));
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }

        static HttpClient Trusting(TestAuthority authority, TlsControl control, X509Certificate2 shown) => new(new SocketsHttpHandler
        {
            SslOptions = new()
            {
                CertificateChainPolicy = new()
                {
                    TrustMode = X509ChainTrustMode.CustomRootTrust, CustomTrustStore = { authority.Root },
                    RevocationMode = X509RevocationMode.NoCheck,
                },
                ClientCertificateContext = SslStreamCertificateContext.Create(shown, additionalCertificates: null, offline: true),
            },
        }) { BaseAddress = control.Server.Address };
    }

    [Fact]
    public async Task A_certificate_that_nobody_would_accept_keeps_it_from_starting()
    {
        await using var federation = await TestFederation.StartAsync();
        var authority = new TestAuthority();
        var folder = Directory.CreateTempSubdirectory("fedrlora-control-");
        try
        {
            authority.Write(folder.FullName, authority.Issue(["control.example"], [CertificateUse.Client]));
            var silo = federation.Cluster.Silos[0].ServiceProvider;
            await using var server = new ControlServer(
                ControlOptions.OnPort(0) with { Tls = TlsFiles.In(folder.FullName) }, ControlServices.Of(silo),
                Microsoft.Extensions.Logging.Abstractions.NullLoggerFactory.Instance);
            var refusal = await Assert.ThrowsAsync<BadInputException>(() => server.StartAsync(CancellationToken.None));
            Assert.EndsWith("others would refuse this certificate: it is not made for servers (serverAuth)", refusal.Message,
                StringComparison.Ordinal);
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }

    // The serial of the certificate that a new connection sees.
    private static async Task<string> ServedAsync(TlsControl control)
    {
        using var tcp = new TcpClient();
        await tcp.ConnectAsync(IPAddress.Loopback, control.Server.Address.Port);
        await using var stream = new SslStream(tcp.GetStream(), leaveInnerStreamOpen: false);
        await stream.AuthenticateAsClientAsync(new SslClientAuthenticationOptions
        {
            TargetHost = "control.example", RemoteCertificateValidationCallback = static (_, shown, _, _) => shown is not null,
        }, InTime);
        return X509CertificateLoader.LoadCertificate(stream.RemoteCertificate!.GetRawCertData()).SerialNumber;
    }
}
