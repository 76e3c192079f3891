using System.Security.Cryptography;
using FedRLora.Abstractions;
using FedRLora.Pki;
using FedRLora.Pki.Authority;

namespace FedRLora.EndToEnd.Tests.Pki;

/// <summary>An authority's folder under clocks and processes that do as they like.</summary>
public sealed class AuthorityFolderTests : IDisposable
{
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("fedrlora-pki-");
    private readonly Clock _time = new();

    private string Place => Path.Combine(_folder.FullName, "authority");

    public void Dispose() => _folder.Delete(recursive: true);

    [Fact]
    public void A_certificate_does_not_outlive_its_authority_nor_begin_before_it()
    {
        var authority = AuthorityFolder.Create(Place, "fedrlora", 1, null, _time);
        var root = authority.Root();

        var (_, early) = authority.Issue(Request("north"), 30);
        _time.Now += TimeSpan.FromDays(350);
        var (_, late) = authority.Issue(Request("north"), 30);
        _time.Now += TimeSpan.FromDays(20);
        var over = Assert.Throws<BadInputException>(() => authority.Issue(Request("north"), 30));
        _time.Now -= TimeSpan.FromDays(371);
        var before = Assert.Throws<BadInputException>(() => authority.Issue(Request("north"), 30));

        Assert.Equal(TimeSpan.FromDays(30) + Issuing.BeforeIssue, early.Until - early.From);
        Assert.Equal(root.NotAfter.ToUniversalTime(), late.Until.UtcDateTime);
        Assert.All([over, before],
            static refused => Assert.Contains("this machine's clock says", refused.Message, StringComparison.Ordinal));
        Assert.Equal(2, authority.Issued().Count);
    }

    [Fact]
    public void A_second_process_waits_its_turn_and_no_record_is_lost()
    {
        var authority = AuthorityFolder.Create(Place, "fedrlora", 1, null, _time);
        using (new FileStream(Path.Combine(Place, "lock"), FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None))
        {
            Assert.Contains("another process works in this folder",
                Assert.Throws<BadInputException>(() => authority.Issue(Request("north"), 1)).Message, StringComparison.Ordinal);
        }

        authority.Issue(Request("north"), 1);
        authority.Issue(Request("south"), 1);

        Assert.Equal([["north.sites.fedrlora"], ["south.sites.fedrlora"]], authority.Issued().Select(static one => one.Names));
        Assert.Empty(Directory.GetFiles(Place, "*.tmp"));
    }

    [Fact]
    public void An_index_or_a_list_that_was_damaged_is_named_and_nothing_is_issued()
    {
        var authority = AuthorityFolder.Create(Place, "fedrlora", 1, null, _time);
        authority.Issue(Request("north"), 1);
        var index = Path.Combine(Place, "issued.jsonl");
        var whole = File.ReadAllText(index);
        File.WriteAllText(index, whole + whole[..20]);
        var torn = Assert.Throws<BadInputException>(() => authority.Issue(Request("north"), 1));
        File.WriteAllText(index, whole);
        File.WriteAllText(authority.Denied, "nonsense\n");
        var unclear = Assert.Throws<BadInputException>(() => authority.Issue(Request("north"), 1));

        Assert.StartsWith($"{index}:2: ", torn.Message, StringComparison.Ordinal);
        Assert.StartsWith($"{authority.Denied}:1: ", unclear.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_key_of_another_root_is_refused()
    {
        var authority = AuthorityFolder.Create(Place, "fedrlora", 1, null, _time);
        AuthorityFolder.Create(Place + "2", "fedrlora", 1, null, _time);
        File.Copy(Path.Combine(Place + "2", "root.key"), Path.Combine(Place, "root.key"), overwrite: true);

        Assert.EndsWith("is not the key of " + Path.Combine(Place, "root.crt"),
            Assert.Throws<BadInputException>(() => authority.Issue(Request("north"), 1)).Message, StringComparison.Ordinal);
    }

    private static SigningRequest Request(string site)
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var names = CertificateNames.Of(CertificateKind.Site, [site], [], "fedrlora");
        return SigningRequest.Parse("request.csr", SigningRequest.Make(key, names, "fedrlora"), "fedrlora");
    }

    private sealed class Clock : TimeProvider
    {
        public DateTimeOffset Now { get; set; } = new(2026, 7, 1, 12, 0, 0, TimeSpan.Zero);

        public override DateTimeOffset GetUtcNow() => Now;
    }
}
