using System.Text.RegularExpressions;
using FedRLora.Abstractions.Plans;

namespace FedRLora.EndToEnd.Tests.Pages;

/// <summary>
/// The keys of a plan as its reader tells them: an unknown key is answered with those that are known beside it, a value of the wrong
/// form with the form that is wanted. A path such as <c>clients[].data.train</c> goes through the items of a list, one such as
/// <c>tasks.NAME.labels</c> through a key that is the user's.
/// </summary>
internal static partial class PlanShape
{
    private const string Unknown = "qqqqqqqqqqqq";
    private const string Item = "[]";
    private const string Name = "NAME";

    // What a section needs beside the key in question to be valid.
    private static readonly Dictionary<string, (string Key, string Value)[]> Needs = new(StringComparer.Ordinal)
    {
        [""] = [("name", "n"), ("model", "m"), ("clients", "[{id: a, task: t, data: {train: rows, test: rows}}]")],
        ["model"] = [("path", "m")],
        ["adapter"] = [("method", "lora")],
        ["adapter.lifecycle[]"] = [("rounds", "1")],
        ["strategy"] = [("quorum", "0.5")],
        ["clients[]"] = [("id", "a"), ("task", "t"), ("data", "{train: rows, test: rows}")],
        ["clients[].data"] = [("train", "rows")],
        ["faults[]"] = [("kind", "nan"), ("share", "0.5")],
    };

    /// <summary>Every key, sections too, in the order in which the reader asks for them.</summary>
    public static IReadOnlyList<string> Keys { get; } = [.. Below([])];

    /// <summary>Whether a key has keys below it.</summary>
    public static bool IsSection(string path) => Keys.Any(key => key.StartsWith($"{path}.", StringComparison.Ordinal)
        || key.StartsWith($"{path}{Item}.", StringComparison.Ordinal));

    /// <summary>The form of a value as the reader asks for it; null where it takes more than one.</summary>
    public static string? Wanted(string path) => new[] { $"{{{Unknown}: 1}}", "[[]]" }
        .SelectMany(value => Problems(With(Steps(path), value)))
        .Select(static problem => Form().Match(problem))
        .FirstOrDefault(form => form.Success && form.Groups[1].Value == Shown(path))?.Groups[2].Value;

    /// <summary>Whether a section without the key is refused.</summary>
    public static bool IsRequired(string path)
    {
        var steps = Steps(path);
        return Problems(With(steps[..^1], "{}")).Any(problem => problem.StartsWith($"{Shown(path)}: missing; ", StringComparison.Ordinal));
    }

    /// <summary>What a plan that says this is read as, or its problems.</summary>
    public static string Read(string path, string? value)
    {
        var result = PlanReader.Read(Whole("", Steps(path), value), "p");
        return result.Plan is { } plan ? PlanText.Of(plan) : string.Join('\n', result.Problems);
    }

    private static IEnumerable<string> Below(string[] steps)
    {
        foreach (var key in Known(steps))
        {
            string[] inner = [.. steps, key];
            yield return Text(inner);
            foreach (var below in new string[][] { inner, [.. inner, Item], [.. inner, Name] }.SelectMany(Below))
                yield return below;
        }
    }

    private static string[] Known(string[] steps)
    {
        var answer = $"{Shown(Text([.. steps, Unknown]))}: unknown key; known here: ";
        var problem = Problems(With(steps, $"{{{Unknown}: 1}}"))
            .FirstOrDefault(problem => problem.StartsWith(answer, StringComparison.Ordinal));
        return problem is null ? [] : problem[answer.Length..^1].Split(", ");
    }

    private static IEnumerable<string> Problems(string yaml) =>
        PlanReader.Read(yaml, "p").Problems.Select(static problem => problem.Message);

    private static string With(string[] steps, string value) => steps.Reverse().Aggregate(value, static (inner, step) => step switch
    {
        Item => $"[{inner}]",
        Name => $"{{{Unknown}: {inner}}}",
        _ => $"{{{step}: {inner}}}",
    });

    private static string Whole(string at, string[] steps, string? value)
    {
        if (steps is [Item, ..])
            return $"[{Whole(at + Item, steps[1..], value)}]";
        if (steps.Length == 0)
            return value!;
        var others = Needs.GetValueOrDefault(at, []).Where(entry => entry.Key != steps[0])
            .Select(static entry => $"{entry.Key}: {entry.Value}");
        var path = at.Length == 0 ? steps[0] : $"{at}.{steps[0]}";
        return steps.Length == 1 && value is null
            ? $"{{{string.Join(", ", others)}}}"
            : $"{{{string.Join(", ", others.Append($"{steps[0]}: {Whole(path, steps[1..], value)}"))}}}";
    }

    private static string[] Steps(string path) => path.Replace(Item, $".{Item}", StringComparison.Ordinal).Split('.');

    private static string Text(IEnumerable<string> steps) =>
        string.Join('.', steps).Replace($".{Item}", Item, StringComparison.Ordinal);

    private static string Shown(string path) =>
        path.Replace(Item, "[0]", StringComparison.Ordinal).Replace(Name, Unknown, StringComparison.Ordinal);

    [GeneratedRegex(@"^(\S+): (?:an? \w+) (?:stands here|is not a list); give (.+)\.$")]
    private static partial Regex Form();
}
