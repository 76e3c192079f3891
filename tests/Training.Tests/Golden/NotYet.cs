using System.IO.Enumeration;

namespace FedRLora.Training.Tests.Golden;

/// <summary>
/// The approved list of kinds of fixtures that nothing runs yet, <c>Golden/not-yet.txt</c>: a kind a line, with <c>*</c> for any
/// text, and behind <c>#</c> the reason.
/// </summary>
public static class NotYet
{
    /// <summary>The kinds.</summary>
    public static IReadOnlyList<string> Kinds { get; } = [.. File.ReadLines(Path.Combine(AppContext.BaseDirectory, "Golden", "not-yet.txt"))
        .Select(static line => line.Split('#')[0].Trim()).Where(static line => line.Length > 0)];

    /// <summary>Whether a kind is one of them.</summary>
    public static bool Has(string kind) => Kinds.Any(pattern => Matches(pattern, kind));

    /// <summary>Whether a kind fits a pattern.</summary>
    public static bool Matches(string pattern, string kind) => FileSystemName.MatchesSimpleExpression(pattern, kind, ignoreCase: false);
}
