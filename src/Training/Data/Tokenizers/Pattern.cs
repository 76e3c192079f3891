using System.Globalization;
using System.Text;
using System.Text.Json;
using System.Text.RegularExpressions;
using FedRLora.Abstractions;

namespace FedRLora.Training.Data.Tokenizers;

/// <summary>
/// A pattern of a <c>tokenizer.json</c>: a plain string, or a regular expression, which anybody may have written. It runs in
/// linear time where its syntax allows, and otherwise under a time limit.
/// </summary>
internal sealed class Pattern
{
    private static readonly TimeSpan Longest = TimeSpan.FromSeconds(1);

    private readonly Setting _setting;
    private readonly string? _plain;
    private readonly Regex? _regex;

    private Pattern(Setting setting, string? plain, Regex? regex) => (_setting, _plain, _regex) = (setting, plain, regex);

    /// <summary>The setting's <c>pattern</c>: <c>{"String": text}</c> or <c>{"Regex": expression}</c>.</summary>
    public static Pattern Read(Setting setting)
    {
        var pattern = setting.Child("pattern") is { Value.ValueKind: JsonValueKind.Object } child ? child : throw setting.Bad(
            $"has pattern {Setting.Shorten(setting.Get("pattern"))}, expected {{\"String\": text}} or {{\"Regex\": expression}}");
        if (pattern.OptionalText("String") is { } plain)
            return plain.Length > 0 ? new Pattern(setting, plain, null) : throw setting.Bad("has an empty pattern");
        var source = pattern.Text("Regex");
        return source.Length > 0 ? new Pattern(setting, null, Compile(setting, source)) : throw setting.Bad("has an empty pattern");
    }

    /// <summary>Appends start and length of each match that is not empty, from left to right.</summary>
    /// <exception cref="BadInputException">The expression takes too long on this text.</exception>
    public void Match(ReadOnlySpan<char> text, List<(int Start, int Length)> matches)
    {
        if (_regex is null)
        {
            for (var at = 0; text[at..].IndexOf(_plain) is >= 0 and var next; at += next + _plain!.Length)
                matches.Add((at + next, _plain!.Length));
            return;
        }

        try
        {
            CodePointRegex.Match(_regex, text, matches);
        }
        catch (RegexMatchTimeoutException)
        {
            throw _setting.Bad(
                $"has a pattern that needs more than {Longest.TotalSeconds} s for one match: {Setting.Shorten(_regex.ToString())}");
        }
    }

    /// <summary>The text with each match replaced, literally.</summary>
    /// <exception cref="BadInputException">The result is longer than the limit.</exception>
    public string Replace(string text, string content, long limit)
    {
        var matches = new List<(int Start, int Length)>();
        Match(text, matches);
        if (matches.Count == 0) return text;
        if (text.Length + (long)matches.Count * content.Length > limit + text.Length)
            throw _setting.Bad($"makes a text of more than {limit} characters; check its content");
        var (result, at) = (new StringBuilder(text.Length), 0);
        foreach (var (start, length) in matches)
        {
            result.Append(text, at, start - at).Append(content);
            at = start + length;
        }

        return result.Append(text, at, text.Length - at).ToString();
    }

    private static Regex Compile(Setting setting, string source)
    {
        // In Oniguruma's Ruby syntax ^ and $ always look at lines.
        const RegexOptions Options = RegexOptions.CultureInvariant | RegexOptions.Multiline;
        try
        {
            var translated = OnigurumaSyntax.Translate(source);
            try
            {
                return new Regex(translated, Options | RegexOptions.NonBacktracking, Longest);
            }
            catch (NotSupportedException)
            {
                return new Regex(translated, Options | RegexOptions.Compiled, Longest);
            }
        }
        catch (Exception exception)
            when (exception is ArgumentException or FormatException or InsufficientExecutionStackException or OverflowException)
        {
            throw setting.Bad(string.Create(CultureInfo.InvariantCulture,
                $"has pattern {Setting.Shorten(source)}, which is not implemented: {Setting.Shorten(exception.Message)}"));
        }
    }
}
