using System.Security.Cryptography.X509Certificates;
using FedRLora.Abstractions;
using FedRLora.Pki.Authority;

namespace FedRLora.EndToEnd.Tests.Pki;

/// <summary>Steps to a new root that a kill or a full disk cut in two: files lie as they were left, and a command is given again.</summary>
public sealed class NextRootTests : IDisposable
{
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("fedrlora-pki-");
    private readonly AuthorityFolder _authority;
    private readonly string _old;

    public NextRootTests()
    {
        _authority = AuthorityFolder.Create(Place, "fedrlora", 10, null, new SetClock());
        _old = File.ReadAllText(_authority.Bundle);
    }

    private string Place => Path.Combine(_folder.FullName, "authority");

    public void Dispose() => _folder.Delete(recursive: true);

    [Fact]
    public void A_next_root_that_was_cut_off_before_the_bundle_does_not_issue_and_is_finished_by_the_same_command()
    {
        var made = _authority.MakeNext(10);
        var whole = File.ReadAllText(_authority.Bundle);
        File.WriteAllText(_authority.Bundle, _old);

        var early = Refused(_authority.UseNext);
        var finished = _authority.MakeNext(10);
        var again = Refused(() => _authority.MakeNext(10));

        Assert.Contains("--next was cut off; give it again first", early, StringComparison.Ordinal);
        Assert.Equal(Fingerprints.Of(made), Fingerprints.Of(finished));
        Assert.Equal(whole, File.ReadAllText(_authority.Bundle));
        Assert.Contains("go on with --use-next", again, StringComparison.Ordinal);
        _authority.UseNext();
        Assert.Equal(made.Subject, _authority.Issue(Requests.Of("north"), 1).Record.Authority);
    }

    [Fact]
    public void A_key_that_was_left_without_its_next_root_is_made_anew()
    {
        var left = _authority.MakeNext(10);
        File.Delete(In("next.crt"));
        File.WriteAllText(_authority.Bundle, _old);

        var made = _authority.MakeNext(10);
        _authority.UseNext();

        Assert.NotEqual(Fingerprints.Of(left), Fingerprints.Of(made));
        Assert.Equal(2, _authority.Roots().Count);
        Assert.Equal(made.Subject, _authority.Issue(Requests.Of("north"), 1).Record.Authority);
    }

    [Fact]
    public void The_change_to_the_next_root_that_was_cut_off_between_key_and_root_is_finished_by_the_same_command()
    {
        var next = HalfUsed();

        _authority.UseNext();

        Assert.False(File.Exists(In("next.crt")));
        Assert.Equal(next.Subject, _authority.Issue(Requests.Of("north"), 1).Record.Authority);
        Assert.Contains("there is no next root", Refused(_authority.UseNext), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("--next")]
    [InlineData("--drop-old")]
    public void Another_step_finishes_that_change_and_leaves_everybody_the_time_to_renew(string step)
    {
        var next = HalfUsed();
        var trusted = File.ReadAllText(_authority.Bundle);

        var told = Refused(() =>
        {
            if (step == "--next") _authority.MakeNext(10);
            else _authority.DropOld();
        });

        Assert.Contains("--use-next was cut off and is finished now", told, StringComparison.Ordinal);
        Assert.Equal(trusted, File.ReadAllText(_authority.Bundle));
        Assert.Equal(next.Subject, _authority.Root().Subject);
        Assert.Empty(_authority.DropOld());
        Assert.Equal([next.Subject], _authority.Roots().Select(static root => root.Subject));
    }

    [Fact]
    public void A_root_that_nobody_trusts_issues_nothing()
    {
        _authority.MakeNext(10);
        _authority.UseNext();
        File.WriteAllText(_authority.Bundle, _old); // as steps of an earlier version may have left it

        var refused = Refused(() => _authority.Issue(Requests.Of("north"), 1));

        Assert.Contains("nobody would trust what it issues", refused, StringComparison.Ordinal);
        Assert.Empty(_authority.Issued());
        File.AppendAllText(_authority.Bundle, File.ReadAllText(In("root.crt")));
        _authority.Issue(Requests.Of("north"), 1);
    }

    [Fact]
    public void A_next_root_without_its_key_does_not_take_the_place_of_one_that_has_it()
    {
        _authority.MakeNext(10);
        var key = File.ReadAllText(In("root.key"));
        File.Delete(In("next.key"));
        var missing = Refused(_authority.UseNext);
        File.Copy(In("root.key"), In("next.key"));
        var another = Refused(_authority.UseNext);

        Assert.StartsWith($"{In("next.key")}: is missing", missing, StringComparison.Ordinal);
        Assert.StartsWith($"{In("next.key")}: is not the key of {In("next.crt")}", another, StringComparison.Ordinal);
        Assert.Equal(key, File.ReadAllText(In("root.key")));
        _authority.Issue(Requests.Of("north"), 1);
    }

    [Fact]
    public void Nobody_loses_trust_by_a_next_root_before_the_old_one_is_dropped()
    {
        var first = _authority.Root();
        var second = _authority.MakeNext(10);
        _authority.UseNext();

        var third = _authority.MakeNext(10);

        Assert.Equal([first.Subject, second.Subject, third.Subject], _authority.Roots().Select(static root => root.Subject));
        _authority.UseNext();
        _authority.DropOld();
        Assert.Equal([third.Subject], _authority.Roots().Select(static root => root.Subject));
    }

    [Fact]
    public void The_old_root_stays_trusted_where_nobody_could_say_who_would_be_refused()
    {
        _authority.MakeNext(10);
        _authority.UseNext();
        var trusted = File.ReadAllText(_authority.Bundle);
        File.WriteAllText(In("issued.jsonl"), "nonsense\n");

        var refused = Refused(() => _authority.DropOld());

        Assert.Contains("is no record of a certificate", refused, StringComparison.Ordinal);
        Assert.Equal(trusted, File.ReadAllText(_authority.Bundle));
    }

    // The key of the next root has its place, and the root has not.
    private X509Certificate2 HalfUsed()
    {
        var next = _authority.MakeNext(10);
        File.Move(In("next.key"), In("root.key"), overwrite: true);
        return next;
    }

    private string In(string name) => Path.Combine(Place, name);

    private static string Refused(Action step) => Assert.Throws<BadInputException>(step).Message;
}
