using System.Diagnostics;
using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Authentication;
using System.Security.Cryptography.X509Certificates;
using FedRLora.Pki;
using FedRLora.Silo.Tls;
using Microsoft.Extensions.DependencyInjection;
using Orleans.Runtime;
using Orleans.Serialization;
using Xunit.Abstractions;

namespace FedRLora.Grains.Tests.Tls;

/// <summary>Who is not let in by a silo and its gateway, and why it says so.</summary>
public sealed class TlsRefusalTests(ITestOutputHelper log) : IAsyncLifetime, IDisposable
{
    private readonly TlsSilos _silos = new();
    private readonly TestAuthority _foreign = new("another authority");
    private TlsSilo _north = null!;

    public async Task InitializeAsync()
    {
        _north = _silos.Create("north-a", "north");
        await _north.Host.StartAsync();
    }

    public Task DisposeAsync() => _silos.DisposeAsync().AsTask();

    public void Dispose()
    {
        _foreign.Dispose();
        _silos.Dispose();
    }

    [Fact]
    public async Task A_silo_and_its_gateway_refuse_every_certificate_that_is_not_one_of_a_site_of_the_domain()
    {
        var now = TestAuthority.Now;
        string[] site = ["south.sites.fedrlora"];
        var authority = _silos.Authority;
        var denied = authority.Issue(site);
        await DenyAsync($"{denied.SerialNumber}\nsite west");
        (string Name, X509Certificate2? Shown, string Reason)[] cases =
        [
            ("foreign", _foreign.Issue(site), "none of the authorities in"),
            ("expired", authority.Issue(site, from: now - TimeSpan.FromDays(9), until: now - TimeSpan.FromMinutes(1)), "clock says"),
            ("early", authority.Issue(site, from: now + TimeSpan.FromMinutes(15)), "clock says"),
            ("usage", authority.Issue(site, [CertificateUse.Server]), "not made for clients"),
            ("serial", denied, "is revoked"),
            ("site", authority.IssueSite("west"), "site west is revoked"),
            ("person", authority.Issue(["ann.operators.fedrlora"]), "is of no site"),
            ("other domain", authority.Issue(["south.sites.elsewhere"]), "is of no site"),
            ("none", null, "showed no certificate"),
        ];
        var silo = Row("south-a@south");
        foreach (var (name, shown, reason) in cases)
        {
            foreach (var (kind, port, first) in new[]
            {
                ("silo connection from", _north.SiloPort, _north.Preamble(silo)),
                ("gateway connection from", _north.GatewayPort, _north.Preamble(null)),
            })
            {
                Assert.False(await _north.AnswersAsync(port, shown, first), $"{name} was let in by the {kind}");
                await _north.Log.UntilAsync("refused the " + kind, 5);
                var until = Stopwatch.GetTimestamp();
                while (!_north.Log.All.Any(line => line.StartsWith("refused the " + kind, StringComparison.Ordinal)
                    && line.Contains(reason, StringComparison.Ordinal)))
                {
                    Assert.True(Stopwatch.GetElapsedTime(until) < TimeSpan.FromSeconds(5), $"{name}, {kind}: no reason among\n"
                        + string.Join('\n', _north.Log.All));
                    await Task.Delay(20);
                }
            }
        }

        log.WriteLine(string.Join('\n', _north.Log.All));
        Assert.True(
            await _north.AnswersAsync(_north.SiloPort, authority.IssueSite("south"), _north.Preamble(silo)), "the silo lets nobody in");
        Assert.True(await _north.AnswersAsync(_north.GatewayPort, authority.IssueSite("south"), _north.Preamble(null)),
            "the gateway lets nobody in");
    }

    [Fact]
    public async Task A_silo_that_claims_a_site_that_its_certificate_is_not_of_gets_in_only_where_that_is_not_checked()
    {
        var open = await _silos.StartAsync("north-b", "north", static settings => settings with { BindsInbound = false });
        var (fake, several) = (Row("fake@north"), Row("fake-2@north,south"));
        var (north, south) = (_silos.Authority.IssueSite("north"), _silos.Authority.IssueSite("south"));

        Assert.False(await _north.AnswersAsync(_north.SiloPort, south, _north.Preamble(fake)));
        Assert.False(await _north.AnswersAsync(_north.SiloPort, south, _north.Preamble(several)), "one of two sites is enough");
        Assert.True(await open.AnswersAsync(open.SiloPort, south, open.Preamble(fake)), "what keeps it out is not the check");
        Assert.True(await _north.AnswersAsync(_north.SiloPort, north, _north.Preamble(fake)));
        Assert.True(await _north.AnswersAsync(_north.SiloPort, _silos.Authority.IssueSite("south", "north"), _north.Preamble(several)));
        await _north.Log.UntilAsync("it claims to be silo fake of site north, and its certificate is of south");
        await _north.Log.UntilAsync("it claims to be silo fake-2 of site north, and its certificate is of south");
    }

    [Fact]
    public async Task A_silo_connects_to_one_that_claims_a_wrong_site_only_where_that_is_not_checked()
    {
        var open = await _silos.StartAsync("north-b", "north", static settings => settings with { BindsOutbound = false });
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        var south = _silos.Authority.IssueSite("south");
        // who listens tells the one who asks by its certificate
        Dictionary<string, string> callers = new()
        {
            [Serial(_north)] = "checked", [Serial(open)] = "unchecked",
        };
        var endpoint = (IPEndPoint)listener.LocalEndpoint;
        _silos.Table.Claim(SiloAddress.New(endpoint, SiloAddress.AllocateNewGeneration()), "fake@north", SiloStatus.Active,
            TestAuthority.Now.UtcDateTime);
        using var enough = new CancellationTokenSource(TimeSpan.FromSeconds(30));
        var spoke = new List<string>();
        while (!spoke.Contains("unchecked") || _north.Log.Count("refused the silo connection to") == 0)
        {
            using var client = await listener.AcceptTcpClientAsync(enough.Token);
            await using var stream = new SslStream(client.GetStream(), false, static (_, shown, _, _) => shown is not null);
            try
            {
                await stream.AuthenticateAsServerAsync(new SslServerAuthenticationOptions
                {
                    ServerCertificate = south, ClientCertificateRequired = true,
                    EnabledSslProtocols = SslProtocols.Tls13 | SslProtocols.Tls12,
                }, enough.Token);
                if (await stream.ReadAsync(new byte[64], enough.Token) > 0)
                    spoke.Add(callers[DenyList.Serial(((X509Certificate2)stream.RemoteCertificate!).SerialNumber)]);
            }
            catch (Exception e) when (e is IOException or AuthenticationException)
            {
                log.WriteLine(e.Message); // it was refused
            }
        }

        Assert.DoesNotContain("checked", spoke);
        Assert.Contains("it claims to be silo fake of site north, and its certificate is of south",
            await _north.Log.UntilAsync("refused the silo connection to"), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_silo_without_a_row_is_refused_whatever_its_certificate()
    {
        var nobody = SiloAddress.New(new IPEndPoint(IPAddress.Loopback, TlsSilos.FreePort()), 1);

        Assert.False(await _north.AnswersAsync(_north.SiloPort, _silos.Authority.IssueSite("north"), _north.Preamble(nobody)));
        await _north.Log.UntilAsync("the membership has no row of it");
    }

    [Fact]
    public async Task Who_connects_and_says_nothing_is_let_go_and_nobody_waits_for_it()
    {
        using var mute = new TcpClient();
        await mute.ConnectAsync(IPAddress.Loopback, _north.SiloPort);
        using var halfway = new TcpClient();
        await halfway.ConnectAsync(IPAddress.Loopback, _north.SiloPort);
        await halfway.GetStream().WriteAsync(new byte[] { 22, 3, 1, 2 }); // the first bytes of a handshake
        var said = await HeldConnection.ShakeAsync(_north.SiloPort, _silos.Authority.IssueSite("south")); // and no word after it
        Assert.True(await _north.AnswersAsync(_north.SiloPort, _silos.Authority.IssueSite("south"), _north.Preamble(Row("s@south"))));
        foreach (var stream in new Stream[] { mute.GetStream(), halfway.GetStream(), said })
        {
            using var enough = new CancellationTokenSource(TimeSpan.FromSeconds(10)); // five times what a handshake may take
            try
            {
                Assert.Equal(0, await stream.ReadAsync(new byte[1], enough.Token));
            }
            catch (IOException)
            {
                // reset
            }
        }

        await said.DisposeAsync();
    }

    [Fact]
    public async Task Refusals_of_one_peer_for_one_reason_are_told_once()
    {
        for (var i = 0; i < 5; i++) Assert.False(await _north.AnswersAsync(_north.SiloPort, _foreign.IssueSite("south"), [1]));

        await _north.Log.UntilAsync("none of the authorities");
        Assert.Equal(1, _north.Log.Count("none of the authorities"));
    }

    [Fact]
    public void What_a_silo_says_first_has_the_shape_that_the_check_reads()
    {
        var type = Type.GetType(PreambleReader.TypeName, throwOnError: true)!;
        var silo = SiloAddress.New(new IPEndPoint(IPAddress.Loopback, 4711), 42);

        Assert.Equal(["ClusterId", "NetworkProtocolVersion", "NodeIdentity", "SiloAddress"],
            type.GetProperties().Select(static property => property.Name).Order(StringComparer.Ordinal));
        Assert.Equal(typeof(SiloAddress), type.GetProperty(PreambleReader.PropertyName)!.PropertyType);
        Assert.Equal(silo, PreambleReader.Create(_north.Host.Services).SiloOf(_north.Preamble(silo)[sizeof(int)..]));
        Assert.Null(PreambleReader.Create(_north.Host.Services).SiloOf(_north.Preamble(null)[sizeof(int)..]));
        Assert.Throws<InvalidDataException>(() => PreambleReader.Create(_north.Host.Services).SiloOf([1, 2, 3]));
        Assert.NotNull(_north.Host.Services.GetRequiredService<Serializer>());
    }

    private static string Serial(TlsSilo silo) =>
        DenyList.Serial(silo.Host.Services.GetRequiredService<TlsIdentity>().Current.Certificate.SerialNumber);

    private async Task DenyAsync(string lines)
    {
        await File.WriteAllTextAsync(Path.Combine(_silos.FolderOf("north-a"), TlsFiles.DeniedName), lines);
        await _north.Log.UntilAsync("are denied now");
    }

    // Of a silo that has begun to join, which is not asked for anything yet.
    private SiloAddress Row(string name)
    {
        var silo = SiloAddress.New(new IPEndPoint(IPAddress.Loopback, TlsSilos.FreePort()), SiloAddress.AllocateNewGeneration());
        _silos.Table.Claim(silo, name, SiloStatus.Joining, TestAuthority.Now.UtcDateTime);
        return silo;
    }
}
