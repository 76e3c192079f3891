using FedRLora.Abstractions;
using FedRLora.Grains.Tests.Tls;
using FedRLora.Pki;
using Microsoft.Extensions.Logging;

namespace FedRLora.Grains.Tests.Pki;

/// <summary>An identity of files, without a connection.</summary>
public sealed class TlsIdentityTests : IDisposable
{
    private static readonly CertificateUse[] Both = [CertificateUse.Server, CertificateUse.Client];
    private readonly string _folder = Directory.CreateTempSubdirectory("fedrlora-pki-").FullName;
    private readonly TestAuthority _authority = new();
    private readonly Lines _lines = new();

    public void Dispose()
    {
        _authority.Dispose();
        _lines.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    [Fact]
    public void A_certificate_that_others_would_refuse_is_told_at_once_and_by_its_file()
    {
        using var other = new TestAuthority("another");
        var now = TestAuthority.Now;
        string[] site = ["north.sites.fedrlora"];
        Refused(other.Issue(site), "none of the authorities in");
        Refused(_authority.Issue(site, from: now - TimeSpan.FromDays(9), until: now - TimeSpan.FromDays(1)), "clock says");
        Refused(_authority.Issue(site, from: now + TimeSpan.FromMinutes(15)), "clock says");
        Refused(_authority.Issue(site, [CertificateUse.Client]), "not made for servers (serverAuth)");
        Refused(_authority.Issue(site, [CertificateUse.Server]), "not made for clients (clientAuth)");
        TestAuthority.Write(_folder, _authority.IssueSite("north"), _authority.Pem);
        Assert.Contains("is not of site south: it holds north", Problem(static identity => identity.RequireSites(["north", "south"])),
            StringComparison.Ordinal);
        Open().RequireSites(["north"]);
    }

    [Fact]
    public void Files_that_cannot_be_used_are_named()
    {
        TestAuthority.Write(_folder, _authority.IssueSite("north"), _authority.Pem);
        var key = Path.Combine(_folder, TlsFiles.KeyName);
        File.SetUnixFileMode(key, UnixFileMode.UserRead | UnixFileMode.OtherRead);
        Assert.Contains("everybody on this machine may read it", Problem(), StringComparison.Ordinal);
        File.SetUnixFileMode(key, UnixFileMode.UserRead | UnixFileMode.UserWrite);
        File.WriteAllText(Path.Combine(_folder, TlsFiles.DeniedName), "perhaps south\n");
        Assert.Contains($"{TlsFiles.DeniedName}:1: \"perhaps south\" is neither a serial number", Problem(), StringComparison.Ordinal);
        File.Delete(Path.Combine(_folder, TlsFiles.DeniedName));
        File.WriteAllText(Path.Combine(_folder, TlsFiles.AuthoritiesName), "");
        Assert.Contains($"{TlsFiles.AuthoritiesName}: holds no certificate in PEM", Problem(), StringComparison.Ordinal);
        File.Delete(key);
        File.WriteAllText(Path.Combine(_folder, TlsFiles.AuthoritiesName), _authority.Pem);
        Assert.Contains($"{key}: is missing", Problem(), StringComparison.Ordinal);
    }

    [Fact]
    public void A_clock_that_is_behind_by_less_than_certificates_begin_before_their_issue_refuses_none()
    {
        TestAuthority.Write(_folder, _authority.IssueSite("north"), _authority.Pem);

        Assert.Null(Open(new ShiftedTime { Shift = -TimeSpan.FromMinutes(3) }).OwnRefusal());
        Assert.Contains("clock says", Problem(new ShiftedTime { Shift = -TimeSpan.FromMinutes(20) }), StringComparison.Ordinal);
    }

    [Fact]
    public void Each_part_that_cannot_be_used_leaves_the_one_before_and_the_others_count()
    {
        TestAuthority.Write(_folder, _authority.IssueSite("north"), _authority.Pem);
        var identity = Open();
        var (serial, south) = (identity.Current.Certificate.SerialNumber, _authority.IssueSite("south"));
        File.WriteAllText(Path.Combine(_folder, TlsFiles.CertificateName), "half");
        File.WriteAllText(Path.Combine(_folder, TlsFiles.DeniedName), $"{south.SerialNumber}\nsite west # gone\n");

        identity.Reload();
        identity.Reload();

        Assert.Equal(serial, identity.Current.Certificate.SerialNumber);
        Assert.Equal(1, _lines.Count("what was in force before stays"));
        Assert.Contains("is revoked", Refusal(identity, south), StringComparison.Ordinal);
        Assert.Contains("site west is revoked", Refusal(identity, _authority.IssueSite("east", "west")), StringComparison.Ordinal);
        Assert.True(identity.IsDenied(south) && !identity.IsDenied(identity.Current.Certificate));
        File.Delete(Path.Combine(_folder, TlsFiles.DeniedName)); // whoever loses the list lets nobody in again
        identity.Reload();
        Assert.Contains("is revoked", Refusal(identity, south), StringComparison.Ordinal);
        Assert.Equal(1, _lines.Count("empty it to deny nobody"));
    }

    [Fact]
    public void A_pair_that_is_refused_by_the_clock_is_told_once_and_taken_when_its_time_has_come()
    {
        TestAuthority.Write(_folder, _authority.IssueSite("north"), _authority.Pem);
        var time = new ShiftedTime();
        var (identity, pair) = (Open(time), _authority.Issue(["north.sites.fedrlora"], from: TestAuthority.Now.AddHours(1)));
        TestAuthority.WritePair(_folder, pair);
        foreach (var minutes in new[] { 0, 10, 20 })
        {
            time.Shift = TimeSpan.FromMinutes(minutes);
            identity.Reload();
        }

        Assert.Equal(1, _lines.Count("others would refuse this certificate"));
        time.Shift = TimeSpan.FromHours(2);
        identity.Reload();

        Assert.Equal(pair.SerialNumber, identity.Current.Certificate.SerialNumber);
    }

    [Fact]
    public void A_pair_that_comes_before_the_authority_that_issued_it_is_taken_when_that_is_there()
    {
        TestAuthority.Write(_folder, _authority.IssueSite("north"), _authority.Pem);
        using var next = new TestAuthority("the next one");
        var (identity, pair) = (Open(), next.IssueSite("north"));
        TestAuthority.WritePair(_folder, pair);
        identity.Reload();
        identity.Reload();
        Assert.NotEqual(pair.SerialNumber, identity.Current.Certificate.SerialNumber);
        Assert.Equal(1, _lines.Count("others would refuse this certificate"));
        File.WriteAllText(Path.Combine(_folder, TlsFiles.AuthoritiesName), $"{_authority.Pem}\n{next.Pem}");

        identity.Reload();

        Assert.Equal(pair.SerialNumber, identity.Current.Certificate.SerialNumber);
    }

    [Fact]
    public void A_certificate_of_fewer_sites_does_not_replace_the_one_that_serves()
    {
        TestAuthority.Write(_folder, _authority.IssueSite("north", "south"), _authority.Pem);
        var identity = Open();
        TestAuthority.WritePair(_folder, _authority.IssueSite("north"));

        identity.Reload();

        Assert.Equal(["north", "south"], identity.Names.Sites);
        Assert.Equal(1, _lines.Count("is not of site south any more"));
    }

    [Fact]
    public void Names_are_those_of_the_trust_domain_and_never_wildcards_or_common_names()
    {
        var names = SanNames.Of(_authority.Issue(
        [
            "North.Sites.fedrlora", "*.sites.fedrlora", "a.b.sites.fedrlora", "ann.operators.fedrlora", "bob.viewers.fedrlora",
            "east.sites.elsewhere", "hub.example.org",
        ]), "fedrlora");

        Assert.Equal(["north"], names.Sites);
        Assert.Equal(["ann"], names.Operators);
        Assert.Equal(["bob"], names.Viewers);
        Assert.Equal(["east.sites.elsewhere", "hub.example.org"], names.Hosts);
        Assert.All(new[] { "North", "a_b", "-a", "a-", "a.b", "", new string('a', 64) },
            static label => Assert.Throws<BadInputException>(() => SanNames.CheckLabel("--site", label)));
    }

    [Theory]
    [InlineData("00ab:CD", "ABCD")]
    [InlineData("0", "0")]
    public void Serial_numbers_are_compared_in_one_form(string written, string form)
    {
        Assert.Equal(form, DenyList.Serial(written));
        Assert.Contains(form, DenyList.Parse("revoked.txt", $"# all\r\n  {written}   # lost\r\n").Serials);
    }

    [Fact]
    public void Connections_are_judged_again_and_those_that_ended_are_forgotten()
    {
        TestAuthority.Write(_folder, _authority.IssueSite("north"), _authority.Pem);
        var identity = Open();
        using var factory = LoggerFactory.Create(builder => builder.AddProvider(_lines));
        var open = new OpenConnections(identity, factory.CreateLogger<OpenConnections>());
        var closed = new List<string>();
        using var south = Add("south", "one of south");
        using var west = Add("west", "one of west");
        Add("south", "over").Dispose();
        Assert.Equal((2, 0), (open.Count, open.CloseRefused()));
        File.WriteAllText(Path.Combine(_folder, TlsFiles.DeniedName), "site south");
        identity.Reload();

        Assert.Equal((1, 1), (open.CloseRefused(), open.Count));
        Assert.Equal(["south"], closed);
        Assert.Equal(1, _lines.Count("closed the one of south: its certificate is refused now: site south is revoked"));

        IDisposable Add(string site, string name) =>
            open.Add(_authority.IssueSite(site), SentChain.Nothing, CertificateUse.Client, name, () => closed.Add(site));
    }

    private TlsIdentity Open(TimeProvider? time = null) =>
        TlsIdentity.Open(TlsFiles.In(_folder), SanNames.DefaultDomain, Both, time ?? TimeProvider.System, _lines.CreateLogger(""));

    private static string Refusal(TlsIdentity identity, System.Security.Cryptography.X509Certificates.X509Certificate2 certificate) =>
        identity.Refusal(certificate, [], CertificateUse.Client) ?? "";

    private string Problem(TimeProvider time) => Assert.Throws<BadInputException>(() => Open(time)).Message;

    private string Problem(Action<TlsIdentity>? then = null) => Assert.Throws<BadInputException>(() =>
    {
        var identity = Open();
        then?.Invoke(identity);
    }).Message;

    private void Refused(System.Security.Cryptography.X509Certificates.X509Certificate2 pair, string reason)
    {
        TestAuthority.Write(_folder, pair, _authority.Pem);
        var problem = Problem();
        Assert.StartsWith(Path.Combine(_folder, TlsFiles.CertificateName) + ": others would refuse this certificate: ", problem,
            StringComparison.Ordinal);
        Assert.Contains(reason, problem, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', problem);
    }
}
