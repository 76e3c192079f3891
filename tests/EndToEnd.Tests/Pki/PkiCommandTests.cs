using System.Text.Json;
using System.Text.RegularExpressions;
using FedRLora.Pki;
using FedRLora.Pki.Authority;
using Microsoft.Extensions.Logging.Abstractions;

namespace FedRLora.EndToEnd.Tests.Pki;

/// <summary>Certificates from the authority to their renewal and revocation, by the commands that people type.</summary>
public sealed partial class PkiCommandTests : IDisposable
{
    private static readonly UnixFileMode Owner = UnixFileMode.UserRead | UnixFileMode.UserWrite;
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("fedrlora-pki-");

    private string Authority => In("authority");

    public void Dispose() => _folder.Delete(recursive: true);

    [Fact]
    public async Task A_site_asks_is_approved_and_installs_what_a_silo_opens()
    {
        await InitAsync();
        var fingerprint = await RequestAsync("north", "--site", "north", "--host", "hub.example.org", "--host", "10.0.0.7");
        var request = In("north", "request.csr");

        var unasked = await CommandLine.RunAsync("pki", "approve", request, "--folder", Authority);
        var wrong = await CommandLine.RunAsync("pki", "approve", request, "--folder", Authority, "--fingerprint", new string('0', 64));
        var approved = await RunAsync("pki", "approve", request, "--folder", Authority, "--fingerprint", fingerprint);
        await RunAsync("pki", "install", In("north", "approved"), "--tls", In("north"));

        Assert.Equal((2, 2), (unasked.Code, wrong.Code));
        Assert.Contains("compare the fingerprint", unasked.Error, StringComparison.Ordinal);
        Assert.Contains("is not that of this request", wrong.Error, StringComparison.Ordinal);
        Assert.Contains("north.sites.fedrlora\n", approved, StringComparison.Ordinal);
        Assert.Contains("hub.example.org\n", approved, StringComparison.Ordinal);
        Assert.Equal(Owner, File.GetUnixFileMode(In("north", "tls.key")));
        Assert.Equal(Owner, File.GetUnixFileMode(Path.Combine(Authority, "root.key")));
        Assert.DoesNotContain(Directory.GetFiles(Authority), file => File.ReadAllText(file) == File.ReadAllText(In("north", "tls.key")));
        var identity = Open("north");
        identity.RequireSites(["north"]);
        Assert.Equal(["hub.example.org"], identity.Names.Hosts);
        Assert.InRange(identity.Current.Certificate.NotAfter - identity.Current.Certificate.NotBefore,
            TimeSpan.FromDays(30), TimeSpan.FromDays(30) + TimeSpan.FromMinutes(6));
        var begun = TimeProvider.System.GetUtcNow() - identity.Current.Certificate.NotBefore.ToUniversalTime();
        Assert.InRange(begun, TimeSpan.FromMinutes(5), TimeSpan.FromMinutes(7));
        Assert.Single(AuthorityFolder.Open(Authority, null, TimeProvider.System).Issued());
    }

    [Fact]
    public async Task A_certificate_is_renewed_beside_the_one_that_is_served()
    {
        await InitAsync();
        await IssueAsync("north", "--site", "north", "--site", "north-west");
        var identity = Open("north");
        var before = identity.Current.Certificate.SerialNumber;

        await RunAsync("pki", "renew", "--tls", In("north"));
        identity.Reload();
        Assert.Equal(before, identity.Current.Certificate.SerialNumber);
        Assert.Equal(Owner, File.GetUnixFileMode(In("north", "tls.key.new")));
        await RunAsync("pki", "approve", In("north", "request.csr"), "--folder", Authority, "--yes", "--out", In("again"));
        await RunAsync("pki", "install", In("again"), "--tls", In("north"));
        identity.Reload();
        var renewed = identity.Current.Certificate.SerialNumber;
        await RunAsync("pki", "renew", "--tls", In("north"), "--key", "keep");
        await RunAsync("pki", "approve", In("north", "request.csr"), "--folder", Authority, "--yes", "--out", In("third"));
        await RunAsync("pki", "install", In("third", "tls.crt"), "--tls", In("north"));
        identity.Reload();

        Assert.NotEqual(before, renewed);
        Assert.NotEqual(renewed, identity.Current.Certificate.SerialNumber);
        identity.RequireSites(["north", "north-west"]);
        Assert.False(File.Exists(In("north", "tls.key.new")));
    }

    [Fact]
    public async Task What_does_not_belong_into_a_folder_is_not_installed_and_what_is_there_stays()
    {
        await InitAsync();
        await IssueAsync("north", "--site", "north");
        await IssueAsync("south", "--site", "south");
        await RunAsync("pki", "init", "--folder", In("other"));
        await RunAsync("pki", "renew", "--tls", In("north"), "--key", "keep");
        await RunAsync("pki", "approve", In("north", "request.csr"), "--folder", In("other"), "--yes", "--out", In("foreign"));
        File.Delete(In("foreign", "ca.crt"));
        var before = await File.ReadAllTextAsync(In("north", "tls.crt"));

        await RefusedAsync("no key in", "pki", "install", In("south", "approved"), "--tls", In("north"));
        await RefusedAsync("none of the authorities", "pki", "install", In("foreign"), "--tls", In("north"));
        await RefusedAsync("holds no certificate", "pki", "install", In("north", "request.csr"), "--tls", In("north"));
        File.Move(In("north", "tls.crt"), In("moved"));
        File.CreateSymbolicLink(In("north", "tls.crt"), In("moved"));
        await RefusedAsync("is a link", "pki", "install", In("north", "approved"), "--tls", In("north"));
        await RefusedAsync("is a link", "pki", "renew", "--tls", In("north"));

        Assert.Equal(before, await File.ReadAllTextAsync(In("moved")));
    }

    [Fact]
    public async Task Revoked_serials_and_sites_are_refused_by_who_has_the_list()
    {
        await InitAsync();
        await IssueAsync("north", "--site", "north");
        await IssueAsync("south", "--site", "south");
        await IssueAsync("ann", "--operator", "ann");
        var north = Open("north");
        var (south, ann) = (Open("south").Current.Certificate, TlsOf("ann", CertificateUse.Client).Current.Certificate);

        var revoked = await RunAsync("pki", "revoke", ann.SerialNumber, "--folder", Authority, "--site", "south");
        await RunAsync("pki", "revoke", ann.SerialNumber, "--folder", Authority);
        File.Copy(Path.Combine(Authority, "revoked.txt"), In("north", "revoked.txt"));
        north.Reload();

        Assert.Contains("revoked: ann.operators.fedrlora", revoked, StringComparison.Ordinal);
        Assert.Contains("revoked: site south, 1 certificate ", revoked, StringComparison.Ordinal);
        Assert.Contains("is revoked", north.Refusal(south, [], CertificateUse.Client), StringComparison.Ordinal);
        Assert.Contains("is revoked", north.Refusal(ann, [], CertificateUse.Client), StringComparison.Ordinal);
        Assert.Equal(2, (await File.ReadAllLinesAsync(In("north", "revoked.txt"))).Length);
        await RefusedAsync("was issued here", "pki", "revoke", "abc", "--folder", Authority);
        await RefusedAsync("no serial number", "pki", "revoke", "north", "--folder", Authority);
        await RefusedAsync("nothing to revoke", "pki", "revoke", "--folder", Authority);
        await RunAsync("pki", "renew", "--tls", In("south"));
        await RefusedAsync("site south is revoked", "pki", "approve", In("south", "request.csr"), "--folder", Authority, "--yes",
            "--out", In("late"));
        Assert.False(File.Exists(In("late", "ca.crt")));
    }

    [Fact]
    public async Task A_new_root_is_trusted_before_it_issues_and_the_old_one_until_all_are_renewed()
    {
        await InitAsync();
        await IssueAsync("north", "--site", "north");
        await IssueAsync("south", "--site", "south");
        var (north, south) = (Open("north"), Open("south"));
        var old = north.Current.Certificate;

        await RefusedAsync("no next root", "pki", "init", "--folder", Authority, "--use-next");
        await RunAsync("pki", "init", "--folder", Authority, "--next");
        await RefusedAsync("there is a next root", "pki", "init", "--folder", Authority, "--next");
        await RefusedAsync("does not issue yet", "pki", "init", "--folder", Authority, "--drop-old");
        HandOut(north, south);
        await RunAsync("pki", "init", "--folder", Authority, "--use-next");
        await RenewAsync("north");
        north.Reload();
        Assert.NotEqual(old.Issuer, north.Current.Certificate.Issuer);
        Assert.Null(south.Refusal(north.Current.Certificate, [], CertificateUse.Server)); // who was not renewed yet
        Assert.Null(north.Refusal(south.Current.Certificate, [], CertificateUse.Server));
        await RenewAsync("south");
        south.Reload();
        var dropped = await RunAsync("pki", "init", "--folder", Authority, "--drop-old");
        HandOut(north, south);

        Assert.Contains($"serial {old.SerialNumber}", dropped, StringComparison.Ordinal);
        Assert.Null(south.Refusal(north.Current.Certificate, [], CertificateUse.Server));
        Assert.Contains("none of the authorities", south.Refusal(old, [], CertificateUse.Client), StringComparison.Ordinal);

        void HandOut(params TlsIdentity[] all)
        {
            foreach (var site in new[] { "north", "south" })
                File.Copy(Path.Combine(Authority, "ca.crt"), In(site, "ca.crt"), overwrite: true);
            foreach (var one in all) one.Reload();
        }

        async Task RenewAsync(string site)
        {
            await RunAsync("pki", "renew", "--tls", In(site));
            await RunAsync("pki", "approve", In(site, "request.csr"), "--folder", Authority, "--yes", "--out", In($"{site}-2"));
            await RunAsync("pki", "install", In($"{site}-2"), "--tls", In(site));
        }
    }

    [Fact]
    public async Task A_new_root_that_was_half_put_in_place_is_finished_by_the_next_command()
    {
        await InitAsync();
        await RunAsync("pki", "init", "--folder", Authority, "--next");
        File.Move(Path.Combine(Authority, "next.key"), Path.Combine(Authority, "root.key"), overwrite: true);

        await IssueAsync("north", "--site", "north");

        Assert.False(File.Exists(Path.Combine(Authority, "next.crt")));
        Assert.Null(Open("north").Refusal(Open("north").Current.Certificate, [], CertificateUse.Server));
    }

    [Fact]
    public async Task Show_says_who_when_and_whether_others_accept_it()
    {
        await InitAsync();
        await IssueAsync("north", "--site", "north");
        await IssueAsync("south", "--site", "south");

        var folder = await RunAsync("pki", "show", In("north"));
        using var json = JsonDocument.Parse(await RunAsync("pki", "show", In("north"), "--json"));
        var file = await RunAsync("pki", "show", In("north", "ca.crt"));
        await RunAsync("pki", "renew", "--tls", In("north"), "--key", "keep");
        var request = await RunAsync("pki", "show", In("north", "request.csr"));
        File.Copy(In("south", "tls.key"), In("north", "tls.key"), overwrite: true);
        var mixed = await CommandLine.RunAsync("pki", "show", In("north"));
        await RunAsync("pki", "revoke", "--folder", Authority, "--site", "south");
        var all = await RunAsync("pki", "show", Authority);
        File.Copy(Path.Combine(Authority, "revoked.txt"), In("south", "revoked.txt"));
        var denied = await CommandLine.RunAsync("pki", "show", In("south"));

        Assert.Contains("29 days left", folder, StringComparison.Ordinal);
        Assert.Contains("key: fits\nothers accept it\n", folder, StringComparison.Ordinal);
        Assert.True(json.RootElement.GetProperty("keyFits").GetBoolean());
        Assert.Equal("north.sites.fedrlora", json.RootElement.GetProperty("names")[0].GetString());
        Assert.Contains("an authority", file, StringComparison.Ordinal);
        Assert.Contains("a request for site north", request, StringComparison.Ordinal);
        Assert.Equal(1, mixed.Code);
        Assert.Contains("key: is another certificate's", mixed.Output, StringComparison.Ordinal);
        Assert.Matches(@"south\.sites\.fedrlora  until [^,]+, revoked", all);
        Assert.Equal(1, denied.Code);
        Assert.Contains("revoked: yes", denied.Output, StringComparison.Ordinal);
        await RefusedAsync("is missing", "pki", "show", In("nothing"));
        await RefusedAsync("neither a certificate nor a request", "pki", "show", In("north", "tls.key"));
    }

    [Fact]
    public async Task A_roots_key_may_be_encrypted()
    {
        Environment.SetEnvironmentVariable(AuthorityFolder.PassphraseVariable, "sesame");
        try
        {
            await InitAsync();
            await IssueAsync("north", "--site", "north");
            Environment.SetEnvironmentVariable(AuthorityFolder.PassphraseVariable, "tapioca");
            await RunAsync("pki", "renew", "--tls", In("north"));
            await RefusedAsync("does not open it", "pki", "approve", In("north", "request.csr"), "--folder", Authority, "--yes",
                "--out", In("b"));
        }
        finally
        {
            Environment.SetEnvironmentVariable(AuthorityFolder.PassphraseVariable, null);
        }

        await RefusedAsync("is encrypted", "pki", "approve", In("north", "request.csr"), "--folder", Authority, "--yes", "--out", In("c"));
        Assert.Contains("BEGIN ENCRYPTED PRIVATE KEY", await File.ReadAllTextAsync(Path.Combine(Authority, "root.key")),
            StringComparison.Ordinal);
    }

    [Fact]
    public async Task Folders_and_files_that_cannot_be_used_are_named()
    {
        await InitAsync();
        await RequestAsync("north", "--site", "north");
        await File.WriteAllTextAsync(In("file"), "x");
        await RefusedAsync("holds an authority already", "pki", "init", "--folder", Authority);
        await RefusedAsync("is there already", "pki", "request", "--site", "north", "--out", In("north"));
        await RefusedAsync("is a file", "pki", "init", "--folder", In("file"));
        await RefusedAsync("cannot be made", "pki", "init", "--folder", In("file", "below"));
        await RefusedAsync("is a folder", "pki", "approve", In("north"), "--folder", Authority, "--yes");
        await RefusedAsync("holds no authority", "pki", "approve", In("north", "request.csr"), "--folder", In("north"), "--yes");
        await RefusedAsync("no such folder", "pki", "approve", In("north", "request.csr"), "--folder", In("none"), "--yes");
        await RefusedAsync("give one", "pki", "request", "--site", "a", "--viewer", "b", "--out", In("x"));
        await RefusedAsync("give one", "pki", "request", "--out", In("x"));
        await RefusedAsync("holds one name and no host", "pki", "request", "--viewer", "b", "--host", "h.example", "--out", In("x"));
        await RefusedAsync("cannot stand in a certificate", "pki", "request", "--site", "North", "--out", In("x"));
        await RefusedAsync("is a wildcard", "pki", "request", "--site", "north", "--host", "*.example.org", "--out", In("x"));
        await RefusedAsync("give one", "pki", "init", "--folder", Authority, "--next", "--drop-old");
        Assert.False(Directory.Exists(In("x")));

        File.SetUnixFileMode(Path.Combine(Authority, "root.key"), Owner | UnixFileMode.GroupRead);
        await RefusedAsync("others may use this key", "pki", "approve", In("north", "request.csr"), "--folder", Authority, "--yes");
        File.SetUnixFileMode(Authority, UnixFileMode.UserRead | UnixFileMode.UserExecute | UnixFileMode.OtherRead);
        await RefusedAsync("everybody on this machine may look into it", "pki", "show", Authority);
    }

    [Fact]
    public async Task Unknown_words_are_told_with_the_commands_own_help()
    {
        var option = await CommandLine.RunAsync("pki", "show", "x", "--strictly");
        var command = await CommandLine.RunAsync("pki", "destroy");

        Assert.EndsWith("pki show --help\n", option.Error, StringComparison.Ordinal);
        Assert.Equal((2, 2), (option.Code, command.Code));
        Assert.Contains("unknown command 'destroy'", command.Error, StringComparison.Ordinal);
    }

    [OpenSslFact]
    public async Task Another_program_reads_what_this_one_wrote()
    {
        await InitAsync();
        await IssueAsync("north", "--site", "north", "--host", "hub.example.org");
        await IssueAsync("ann", "--viewer", "ann");

        foreach (var use in new[] { "sslserver", "sslclient" })
        {
            await OpenSsl.RunAsync(In("north"), "verify", "-x509_strict", "-CAfile", "ca.crt", "-purpose", use, "-verify_hostname",
                "hub.example.org", "tls.crt");
        }

        await OpenSsl.RunAsync(In("ann"), "verify", "-x509_strict", "-CAfile", "ca.crt", "-purpose", "sslclient", "tls.crt");
        Assert.NotEqual(0, (await OpenSsl.TryAsync(In("ann"), "verify", "-CAfile", "ca.crt", "-purpose", "sslserver", "tls.crt")).Code);
        var text = await OpenSsl.RunAsync(In("north"), "x509", "-in", "tls.crt", "-noout", "-text");
        Assert.Contains("DNS:north.sites.fedrlora, DNS:hub.example.org", text, StringComparison.Ordinal);
        Assert.Contains("CA:FALSE", text, StringComparison.Ordinal);
        Assert.Contains("prime256v1", text, StringComparison.Ordinal);
    }

    [OpenSslFact]
    public async Task Files_of_cert_manager_with_RSA_keys_and_an_intermediate_authority_are_shown_renewed_and_served()
    {
        Directory.CreateDirectory(In("cm"));
        var run = (string[] arguments) => OpenSsl.RunAsync(In("cm"), arguments);
        await run(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "root.key", "-out", "ca.crt", "-subj", "/CN=cm root",
            "-days", "5", "-addext", "basicConstraints=critical,CA:TRUE"]);
        await run(["req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", "mid.key", "-out", "mid.csr", "-subj", "/CN=cm mid"]);
        await File.WriteAllTextAsync(In("cm", "mid.cnf"), "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\n");
        await run(["x509", "-req", "-in", "mid.csr", "-CA", "ca.crt", "-CAkey", "root.key", "-CAcreateserial", "-out", "mid.crt", "-days",
            "4", "-extfile", "mid.cnf"]);
        await run(["req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", "tls.key", "-out", "leaf.csr", "-subj", "/CN=north"]);
        await File.WriteAllTextAsync(In("cm", "leaf.cnf"),
            "subjectAltName=DNS:north.sites.fedrlora\nextendedKeyUsage=serverAuth,clientAuth\n"
            + "keyUsage=critical,digitalSignature,keyEncipherment\n");
        await run(["x509", "-req", "-in", "leaf.csr", "-CA", "mid.crt", "-CAkey", "mid.key", "-CAcreateserial", "-out", "leaf.crt", "-days",
            "3", "-extfile", "leaf.cnf"]);
        var crlf = (await File.ReadAllTextAsync(In("cm", "leaf.crt")) + await File.ReadAllTextAsync(In("cm", "mid.crt")))
            .ReplaceLineEndings("\r\n");
        await File.WriteAllTextAsync(In("cm", "tls.crt"), "\uFEFF" + crlf);
        File.SetUnixFileMode(In("cm", "tls.key"), Owner);

        var shown = await RunAsync("pki", "show", In("cm"));
        Open("cm").RequireSites(["north"]);
        await RunAsync("pki", "renew", "--tls", In("cm"), "--key", "keep");
        await InitAsync();
        await RunAsync("pki", "approve", In("cm", "request.csr"), "--folder", Authority, "--yes"); // an RSA key, by an ECDSA authority
        await RefusedAsync("shares no root with", "pki", "install", In("cm", "approved"), "--tls", In("cm"));
        File.Delete(In("cm", "ca.crt")); // who changes the authority says so
        await RunAsync("pki", "install", In("cm", "approved"), "--tls", In("cm"));

        Assert.Contains("key of: RSA 2048", shown, StringComparison.Ordinal);
        Assert.Contains("others accept it", shown, StringComparison.Ordinal);
        Open("cm").RequireSites(["north"]);
    }

    private async Task InitAsync() => await RunAsync("pki", "init", "--folder", Authority);

    private async Task<string> RequestAsync(string folder, params string[] names)
    {
        var output = await RunAsync(["pki", "request", .. names, "--out", In(folder)]);
        return Fingerprint().Match(output).Groups[1].Value;
    }

    private async Task IssueAsync(string folder, params string[] names)
    {
        var fingerprint = await RequestAsync(folder, names);
        await RunAsync("pki", "approve", In(folder, "request.csr"), "--folder", Authority, "--fingerprint", fingerprint);
        await RunAsync("pki", "install", In(folder, "approved"), "--tls", In(folder));
    }

    private TlsIdentity Open(string folder) => TlsOf(folder, CertificateUse.Server, CertificateUse.Client);

    private TlsIdentity TlsOf(string folder, params CertificateUse[] uses) =>
        TlsIdentity.Open(TlsFiles.In(In(folder)), SanNames.DefaultDomain, uses, TimeProvider.System, NullLogger.Instance);

    private string In(params string[] parts) => Path.Combine([_folder.FullName, .. parts]);

    private static async Task<string> RunAsync(params string[] arguments)
    {
        var result = await CommandLine.RunAsync(arguments);
        Assert.True(result.Code == 0, $"{string.Join(' ', arguments)} ended with {result.Code}: {result.Error}");
        return result.Output;
    }

    private static async Task RefusedAsync(string why, params string[] arguments)
    {
        var result = await CommandLine.RunAsync(arguments);
        Assert.True(result.Code == 2, $"{string.Join(' ', arguments)} ended with {result.Code}: {result.Output}{result.Error}");
        Assert.Contains(why, Assert.Single(result.ErrorLines), StringComparison.Ordinal);
    }

    [GeneratedRegex("fingerprint ([0-9a-f-]+)")]
    private static partial Regex Fingerprint();
}
