using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Cryptography.X509Certificates;
using FedRLora.Grains.Tests.Control;
using FedRLora.Pki;

namespace FedRLora.EndToEnd.Tests.Control;

/// <summary>What a command makes of the certificate of whatever answers: one line, exit code 3, and nothing was sent.</summary>
public sealed class HttpsServerTests : IDisposable
{
    private readonly TestAuthority _authority = new(), _other = new("another authority");
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("fedrlora-https-");

    public HttpsServerTests()
    {
        File.WriteAllText(Ca, _authority.Root.ExportCertificatePem());
        File.WriteAllText(Token, new string('t', 43));
        File.SetUnixFileMode(Token, UnixFileMode.UserRead | UnixFileMode.UserWrite);
    }

    private string Ca => Path.Combine(_folder.FullName, "ca.crt");

    private string Token => Path.Combine(_folder.FullName, "token");

    public void Dispose() => _folder.Delete(recursive: true);

    [Fact]
    public Task One_that_nobody_known_issued_is_refused_by_its_issuer() => ExpectAsync(
        _other.Server(), "its certificate is issued by CN=another authority, which is none of the authorities in CA");

    [Fact]
    public Task One_of_an_authority_that_the_machine_does_not_know_is_refused_with_the_way_out() => ExpectAsync(
        _authority.Server(),
        "its certificate is issued by CN=authority of a test, which is none of the authorities of this machine; name its own with --ca "
            + "FILE",
        ca: false);

    [Fact]
    public Task One_of_another_name_is_refused_with_the_names_that_it_has() => ExpectAsync(
        _authority.Issue(["north.sites.fedrlora", "control.example"], [CertificateUse.Server]),
        "its certificate is of north.sites.fedrlora, control.example, not of that name; name the server as its certificate does");

    [Fact]
    public Task One_for_clients_alone_is_refused() => ExpectAsync(
        _authority.Issue(["control.example"], [CertificateUse.Client], [IPAddress.Loopback]),
            "its certificate is not made for servers (serverAuth)");

    [Fact]
    public async Task One_that_has_ended_is_refused_with_both_times()
    {
        var (from, until) = (TestAuthority.Now.AddDays(-3), TestAuthority.Now.AddDays(-1));
        var result = await RunsAsync(_authority.Issue(["control.example"], [CertificateUse.Server], [IPAddress.Loopback], from, until),
            ca: true);
        Assert.Equal(3, result.Code);
        Assert.Matches($@"^https://127\.0\.0\.1:\d+: no secure connection: its certificate is valid from {from:yyyy-MM-dd HH:mm:ss}Z to "
            + $@"{until:yyyy-MM-dd HH:mm:ss}Z, and this machine's clock says \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\dZ\n$", result.Error);
    }

    [Theory]
    [InlineData("--ca", "CA", "--ca: http://127.0.0.1:1 is plain http, where there are no certificates; name it with https")]
    [InlineData("--tls", "FOLDER", "--tls: http://127.0.0.1:1 is plain http, where there are no certificates; name it with https")]
    public async Task Certificates_go_with_https(string option, string value, string line)
    {
        var result = await CommandLine.RunAsync("runs", "--server", "http://127.0.0.1:1", option, value.Replace("CA", Ca,
            StringComparison.Ordinal));
        Assert.Equal((2, line + "\n"), (result.Code, result.Error));
    }

    [Fact]
    public async Task A_file_of_authorities_that_is_none_is_bad_input()
    {
        foreach (var (file, line) in new[]
        {
            (Token, $"--ca: {Token}: holds no certificate in PEM (-----BEGIN CERTIFICATE-----)"),
            (Path.Combine(_folder.FullName, "none"), $"--ca: {_folder.FullName}/none: cannot be read: "),
        })
        {
            var result = await CommandLine.RunAsync("runs", "--server", "https://127.0.0.1:1", "--ca", file);
            Assert.Equal(2, result.Code);
            Assert.StartsWith(line, Assert.Single(result.ErrorLines), StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task A_certificate_of_ours_that_has_ended_is_told_before_anything_is_sent()
    {
        var tls = _authority.Write(Path.Combine(_folder.FullName, "tls"), _authority.Issue(["otto.operators.fedrlora"],
            from: TestAuthority.Now.AddDays(-3), until: TestAuthority.Now.AddDays(-1)));
        var result = await CommandLine.RunAsync("runs", "--server", "https://127.0.0.1:1", "--tls", tls);
        Assert.Equal(2, result.Code);
        Assert.StartsWith($"{tls}/tls.crt: others would refuse this certificate: it is valid from ", Assert.Single(result.ErrorLines),
            StringComparison.Ordinal);
    }

    private async Task ExpectAsync(X509Certificate2 certificate, string why, bool ca = true)
    {
        var result = await RunsAsync(certificate, ca);
        Assert.Equal(3, result.Code);
        Assert.EndsWith(": no secure connection: " + why.Replace(" CA", $" {Ca}", StringComparison.Ordinal),
            Assert.Single(result.ErrorLines), StringComparison.Ordinal);
    }

    private async Task<CommandResult> RunsAsync(X509Certificate2 certificate, bool ca)
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        var heard = HeardAsync(listener, certificate);
        string[] command = ["runs", "--server", $"https://127.0.0.1:{((IPEndPoint)listener.LocalEndpoint).Port}", "--token-file", Token];
        var result = await CommandLine.RunAsync(ca ? [.. command, "--ca", Ca] : command);
        listener.Stop();
        Assert.Equal(0, await heard.WaitAsync(TimeSpan.FromSeconds(10))); // bytes of requests
        return result;
    }

    private static async Task<int> HeardAsync(TcpListener listener, X509Certificate2 certificate)
    {
        try
        {
            using var client = await listener.AcceptTcpClientAsync();
            await using var stream = new SslStream(client.GetStream(), leaveInnerStreamOpen: false);
            await stream.AuthenticateAsServerAsync(new SslServerAuthenticationOptions { ServerCertificate = certificate });
            return await stream.ReadAsync(new byte[1]);
        }
        catch (Exception e) when (e is IOException or System.Security.Authentication.AuthenticationException)
        {
            return 0;
        }
    }
}
