using FedRLora.Pki.Authority;

namespace FedRLora.EndToEnd.Tests.Pki;

/// <content>Whom a site trusts by what was sent back to it.</content>
public sealed partial class PkiCommandTests
{
    [Fact]
    public async Task A_reply_of_another_authority_than_the_one_that_is_trusted_is_refused()
    {
        await InitAsync();
        await IssueAsync("north", "--site", "north");
        var other = Fingerprint().Match(await RunAsync("pki", "init", "--folder", In("other"))).Groups[1].Value;
        await RunAsync("pki", "renew", "--tls", In("north"));
        await RunAsync("pki", "approve", In("north", "request.csr"), "--folder", In("other"), "--yes", "--out", In("foreign"));
        var trusted = await File.ReadAllTextAsync(In("north", "ca.crt"));

        await RefusedAsync("shares no root with", "pki", "install", In("foreign"), "--tls", In("north"));
        await RefusedAsync("shares no root with", "pki", "install", In("foreign"), "--tls", In("north"), "--ca-fingerprint", other);

        Assert.Equal(trusted, await File.ReadAllTextAsync(In("north", "ca.crt")));
        Assert.True(File.Exists(In("north", "tls.key.new")));
        File.Move(In("north", "ca.crt"), In("north", "ca.crt.old")); // as the line says
        var installed = await RunAsync("pki", "install", In("foreign"), "--tls", In("north"), "--ca-fingerprint", other);
        Assert.Contains($"fingerprint {other}, as you were told", installed, StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_first_reply_shows_its_root_in_the_form_in_which_the_authority_shows_it()
    {
        var fingerprint = Fingerprint().Match(await RunAsync("pki", "init", "--folder", Authority)).Groups[1].Value;
        await RequestAsync("north", "--site", "north");
        await RunAsync("pki", "approve", In("north", "request.csr"), "--folder", Authority, "--yes");

        var first = await RunAsync("pki", "install", In("north", "approved"), "--tls", In("north"));
        var again = await RunAsync("pki", "install", In("north", "approved"), "--tls", In("north"));

        Assert.Equal(79, fingerprint.Length); // sixteen groups of four digits
        Assert.Contains($"fingerprint {fingerprint}; compare with what the authority's administrator says", first,
            StringComparison.Ordinal);
        Assert.DoesNotContain("trusted from now on", again, StringComparison.Ordinal);
        Assert.Contains($"fingerprint {fingerprint}, ", await RunAsync("pki", "show", Authority), StringComparison.Ordinal);
        Assert.Contains($"fingerprint: {fingerprint}\n", await RunAsync("pki", "show", In("north", "ca.crt")), StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_first_reply_is_held_to_the_fingerprint_that_was_told()
    {
        var fingerprint = Fingerprint().Match(await RunAsync("pki", "init", "--folder", Authority)).Groups[1].Value;
        var pairs = Fingerprints.Digits(fingerprint).ToUpperInvariant().Chunk(2).Select(static pair => new string(pair)).ToList();
        await RequestAsync("north", "--site", "north");
        await RunAsync("pki", "approve", In("north", "request.csr"), "--folder", Authority, "--yes");

        await RefusedAsync("holds no root with the fingerprint 0000-", Install(new string('0', 64)));
        await RefusedAsync("is no SHA-256 fingerprint", Install(fingerprint[..^1]));
        await RefusedAsync("is no SHA-256 fingerprint", Install(new string('g', 64)));
        Assert.False(File.Exists(In("north", "ca.crt")));

        var told = await RunAsync(Install(string.Join(':', pairs))); // as openssl has it
        await RunAsync(Install(string.Join(' ', pairs)));
        await RunAsync(Install(string.Concat(pairs)));
        Assert.Contains("as you were told", told, StringComparison.Ordinal);

        string[] Install(string given) => ["pki", "install", In("north", "approved"), "--tls", In("north"), "--ca-fingerprint", given];
    }

    [Fact]
    public async Task A_root_that_was_added_on_the_way_is_not_let_in_beside_the_one_that_was_told()
    {
        var right = Fingerprint().Match(await RunAsync("pki", "init", "--folder", Authority)).Groups[1].Value;
        var added = Fingerprint().Match(await RunAsync("pki", "init", "--folder", In("other"))).Groups[1].Value;
        await RequestAsync("north", "--site", "north");
        await RunAsync("pki", "approve", In("north", "request.csr"), "--folder", Authority, "--yes");
        await File.AppendAllTextAsync(In("north", "approved", "ca.crt"), await File.ReadAllTextAsync(In("other", "ca.crt")));

        await RefusedAsync("holds another root", "pki", "install", In("north", "approved"), "--tls", In("north"),
            "--ca-fingerprint", right);
        Assert.False(File.Exists(In("north", "ca.crt")));
        var both = await RunAsync("pki", "install", In("north", "approved"), "--tls", In("north"),
            "--ca-fingerprint", right, "--ca-fingerprint", added);

        Assert.Equal(2, both.Split("trusted from now on").Length - 1);
    }

    [Fact]
    public async Task A_root_that_comes_with_a_renewal_is_shown_once()
    {
        await InitAsync();
        await IssueAsync("north", "--site", "north");
        var next = Fingerprint().Match(await RunAsync("pki", "init", "--folder", Authority, "--next")).Groups[1].Value;
        await RunAsync("pki", "renew", "--tls", In("north"));
        await RunAsync("pki", "approve", In("north", "request.csr"), "--folder", Authority, "--yes", "--out", In("again"));

        var installed = await RunAsync("pki", "install", In("again"), "--tls", In("north"));
        var repeated = await RunAsync("pki", "install", In("again"), "--tls", In("north"));

        Assert.Equal(next, Fingerprint().Match(installed).Groups[1].Value);
        Assert.Equal(1, installed.Split("trusted from now on").Length - 1);
        Assert.DoesNotContain("trusted from now on", repeated, StringComparison.Ordinal);
    }

    [Fact]
    public async Task What_a_command_left_that_was_cut_off_is_told_beside_the_output_and_sites_are_revoked_all_the_same()
    {
        await InitAsync();
        var index = Path.Combine(Authority, "issued.jsonl");
        await File.WriteAllTextAsync(index, "{\"serial\":\"4A");

        var shown = await CommandLine.RunAsync("pki", "show", Authority);
        await File.WriteAllTextAsync(index, "{\"serial\":\"4A\n");
        await RefusedAsync("revoked: site north, south; copy ", "pki", "revoke", "abc", "--folder", Authority, "--site", "north",
            "--site", "south");

        Assert.Equal(0, shown.Code);
        Assert.Contains("ends with half a line", Assert.Single(shown.ErrorLines), StringComparison.Ordinal);
        Assert.Equal(["north", "south"],
            AuthorityFolder.Open(Authority, null, TimeProvider.System).Revoked().Sites.Order(StringComparer.Ordinal));
    }
}
