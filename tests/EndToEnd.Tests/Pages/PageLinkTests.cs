using System.Text.RegularExpressions;

namespace FedRLora.EndToEnd.Tests.Pages;

/// <summary>Links of pages within the repository.</summary>
public sealed partial class PageLinkTests
{
    public static TheoryData<string> Pages => [.. Page.All.Select(static page => page.Name)];

    [Theory]
    [MemberData(nameof(Pages))]
    public void Links_of_a_page_lead_to_a_file_and_a_heading(string name) => Assert.Empty(Broken(name, Repository.Read(name)));

    [Theory]
    [InlineData("[a](plan/nowhere.md)")]
    [InlineData("[a](plan/README.md#no-such-heading)")]
    [InlineData("[a](#no-such-heading)")]
    public void A_link_that_leads_nowhere_is_found(string text) => Assert.Single(Broken("docs/stores.md", text));

    private static List<string> Broken(string name, string text) =>
    [
        .. Link().Matches(Fenced().Replace(text, "")).Select(static link => link.Groups[1].Value)
            .Where(static link => !link.Contains("://", StringComparison.Ordinal))
            .Where(link => !Leads(name, text, link)),
    ];

    private static bool Leads(string name, string text, string link)
    {
        var parts = link.Split('#');
        var file = Path.Combine(Repository.Root, Path.GetDirectoryName(name)!, parts[0]);
        if (parts[0].Length > 0 && !Path.Exists(file)) return false;
        return parts.Length == 1 || Headings(parts[0].Length == 0 ? text : File.ReadAllText(file)).Contains(parts[1]);
    }

    // As GitHub names them: lower case, blanks as dashes, no punctuation.
    private static IEnumerable<string> Headings(string text) => Heading().Matches(Fenced().Replace(text, ""))
        .Select(static heading => Punctuation().Replace(heading.Groups[1].Value.ToLowerInvariant(), "").Replace(' ', '-'));

    [GeneratedRegex(@"\]\(([^)\s]+)\)")]
    private static partial Regex Link();

    [GeneratedRegex(@"^#+ (.+)$", RegexOptions.Multiline)]
    private static partial Regex Heading();

    [GeneratedRegex(@"[^\w\- ]")]
    private static partial Regex Punctuation();

    [GeneratedRegex("^```.*?^```", RegexOptions.Multiline | RegexOptions.Singleline)]
    private static partial Regex Fenced();
}
