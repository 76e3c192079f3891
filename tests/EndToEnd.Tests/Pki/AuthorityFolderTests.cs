using FedRLora.Abstractions;
using FedRLora.Pki;
using FedRLora.Pki.Authority;

namespace FedRLora.EndToEnd.Tests.Pki;

/// <summary>An authority's folder under clocks and processes that do as they like.</summary>
public sealed class AuthorityFolderTests : IDisposable
{
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("fedrlora-pki-");
    private readonly SetClock _time = new();

    private string Place => Path.Combine(_folder.FullName, "authority");

    private string Index => Path.Combine(Place, "issued.jsonl");

    public void Dispose() => _folder.Delete(recursive: true);

    [Fact]
    public void A_certificate_does_not_outlive_its_authority_nor_begin_before_it()
    {
        var authority = AuthorityFolder.Create(Place, "fedrlora", 1, null, _time);
        var root = authority.Root();

        var (_, early) = authority.Issue(Requests.Of("north"), 30);
        _time.Now += TimeSpan.FromDays(350);
        var (_, late) = authority.Issue(Requests.Of("north"), 30);
        _time.Now += TimeSpan.FromDays(20);
        var over = Assert.Throws<BadInputException>(() => authority.Issue(Requests.Of("north"), 30));
        _time.Now -= TimeSpan.FromDays(371);
        var before = Assert.Throws<BadInputException>(() => authority.Issue(Requests.Of("north"), 30));

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
                Assert.Throws<BadInputException>(() => authority.Issue(Requests.Of("north"), 1)).Message, StringComparison.Ordinal);
        }

        authority.Issue(Requests.Of("north"), 1);
        authority.Issue(Requests.Of("south"), 1);

        Assert.Equal([["north.sites.fedrlora"], ["south.sites.fedrlora"]], authority.Issued().Select(static one => one.Names));
        Assert.Empty(Directory.GetFiles(Place, "*.tmp"));
    }

    [Fact]
    public void An_index_or_a_list_that_was_damaged_is_named_and_nothing_is_issued()
    {
        var authority = AuthorityFolder.Create(Place, "fedrlora", 1, null, _time);
        authority.Issue(Requests.Of("north"), 1);
        var whole = File.ReadAllText(Index);
        File.WriteAllText(Index, whole + whole[..20] + "\n" + whole);
        var torn = Assert.Throws<BadInputException>(() => authority.Issue(Requests.Of("north"), 1));
        File.WriteAllText(Index, whole);
        File.WriteAllText(authority.Denied, "nonsense\n");
        var unclear = Assert.Throws<BadInputException>(() => authority.Issue(Requests.Of("north"), 1));

        Assert.StartsWith($"{Index}:2: ", torn.Message, StringComparison.Ordinal);
        Assert.StartsWith($"{authority.Denied}:1: ", unclear.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Half_a_line_at_the_end_of_the_index_is_told_passed_over_and_taken_away()
    {
        AuthorityFolder.Create(Place, "fedrlora", 1, null, _time).Issue(Requests.Of("north"), 1);
        var whole = File.ReadAllText(Index);
        File.AppendAllText(Index, whole[..(whole.Length / 2)]); // a command that was killed while it wrote
        List<string> told = [];
        var authority = AuthorityFolder.Open(Place, null, _time, told.Add);

        var before = authority.Issued();
        authority.Issue(Requests.Of("south"), 1);

        Assert.Equal(["north.sites.fedrlora"], Assert.Single(before).Names);
        Assert.Equal([["north.sites.fedrlora"], ["south.sites.fedrlora"]], authority.Issued().Select(static one => one.Names));
        Assert.StartsWith(whole, File.ReadAllText(Index), StringComparison.Ordinal);
        Assert.Equal(2, told.Count);
        Assert.StartsWith($"{Index}: ends with half a line", told[0], StringComparison.Ordinal);
        Assert.EndsWith("it was taken away", told[1], StringComparison.Ordinal);
    }

    [Fact]
    public void A_line_of_the_index_that_lacks_nothing_but_its_end_counts()
    {
        List<string> told = [];
        AuthorityFolder.Create(Place, "fedrlora", 1, null, _time).Issue(Requests.Of("north"), 1);
        File.WriteAllText(Index, File.ReadAllText(Index).TrimEnd('\n'));
        var authority = AuthorityFolder.Open(Place, null, _time, told.Add);

        var before = authority.Issued().Count;
        authority.Issue(Requests.Of("south"), 1);

        Assert.Equal((1, 2), (before, authority.Issued().Count));
        Assert.Equal(2, File.ReadAllLines(Index).Length);
        Assert.Empty(told);
    }

    [Fact]
    public void An_authority_goes_on_when_its_index_and_its_list_are_larger_than_a_mebibyte()
    {
        var authority = AuthorityFolder.Create(Place, "fedrlora", 1, null, _time);
        var (_, north) = authority.Issue(Requests.Of("north"), 1);
        var line = File.ReadAllText(Index);
        File.AppendAllText(Index, string.Concat(Enumerable.Repeat(line, (1 << 20) / line.Length)));
        File.WriteAllText(authority.Denied, string.Concat(Enumerable.Repeat("# what somebody noted\n", 1 << 16)));
        var before = authority.Issued().Count;

        authority.Issue(Requests.Of("south"), 1);
        var revoked = authority.RevokeSerial(north.Serial);
        var isNew = authority.RevokeSite("south");

        Assert.All([Index, authority.Denied], static file => Assert.True(new FileInfo(file).Length > 1 << 20));
        Assert.Equal(before + 1, authority.Issued().Count);
        Assert.NotNull(revoked);
        Assert.True(isNew);
        Assert.Equal(1, Assert.Single(authority.Valid(["south"])));
        Assert.Equal("south", Assert.Single(authority.Revoked().Sites));
        Assert.Equal(DenyList.Serial(north.Serial), Assert.Single(authority.Revoked().Serials));
    }

    [Fact]
    public void A_site_is_revoked_whatever_state_the_index_is_in()
    {
        var authority = AuthorityFolder.Create(Place, "fedrlora", 1, null, _time);
        File.WriteAllText(Index, "nonsense\n");

        Assert.True(authority.RevokeSite("south"));
        Assert.False(authority.RevokeSite("south"));

        Assert.Equal("south", Assert.Single(authority.Revoked().Sites));
        Assert.Throws<BadInputException>(() => authority.Valid(["south"]));
    }

    [Fact]
    public void A_reply_that_was_cut_off_before_its_certificate_is_finished_and_a_whole_one_is_not_written_over()
    {
        var authority = AuthorityFolder.Create(Place, "fedrlora", 1, null, _time);
        var reply = Path.Combine(_folder.FullName, "approved");
        Replies.Write(reply, authority, Requests.Of("north"), 1);
        File.Delete(Path.Combine(reply, "tls.crt"));

        var record = Replies.Write(reply, authority, Requests.Of("north"), 1);
        var whole = Assert.Throws<BadInputException>(() => Replies.Write(reply, authority, Requests.Of("north"), 1));
        File.Delete(Path.Combine(reply, "tls.crt"));
        File.WriteAllText(Path.Combine(reply, "ca.crt"), "another authority's");
        var other = Assert.Throws<BadInputException>(() => Replies.Write(reply, authority, Requests.Of("north"), 1));

        Assert.Equal(record.Serial, authority.Issued()[1].Serial);
        Assert.Equal(2, authority.Issued().Count);
        Assert.All([whole, other], static refused => Assert.Contains("is there already", refused.Message, StringComparison.Ordinal));
    }

    [Fact]
    public void A_folder_where_the_making_of_an_authority_was_cut_off_says_so()
    {
        AuthorityFolder.Create(Place, "fedrlora", 1, null, _time).Issue(Requests.Of("north"), 1);
        File.Delete(Path.Combine(Place, "trust-domain"));
        var lost = Assert.Throws<BadInputException>(() => AuthorityFolder.Create(Place, "fedrlora", 1, null, _time));
        foreach (var name in new[] { "root.crt", "ca.crt", "issued.jsonl" }) File.Delete(Path.Combine(Place, name));
        var cut = Assert.Throws<BadInputException>(() => AuthorityFolder.Create(Place, "fedrlora", 1, null, _time));

        Assert.Contains("put that file back", lost.Message, StringComparison.Ordinal);
        Assert.Contains("holds root.key of an authority whose making was cut off", cut.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_key_of_another_root_is_refused()
    {
        var authority = AuthorityFolder.Create(Place, "fedrlora", 1, null, _time);
        AuthorityFolder.Create(Place + "2", "fedrlora", 1, null, _time);
        File.Copy(Path.Combine(Place + "2", "root.key"), Path.Combine(Place, "root.key"), overwrite: true);

        Assert.EndsWith("is not the key of " + Path.Combine(Place, "root.crt"),
            Assert.Throws<BadInputException>(() => authority.Issue(Requests.Of("north"), 1)).Message, StringComparison.Ordinal);
    }
}
