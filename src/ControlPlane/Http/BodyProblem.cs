using System.Text.Json;
using System.Text.RegularExpressions;
using FedRLora.Abstractions;

namespace FedRLora.ControlPlane.Http;

/// <summary>What is wrong with a body, in the words of whoever wrote it: the library's name types of this program.</summary>
internal static partial class BodyProblem
{
    /// <summary>One line with the key.</summary>
    public static string Of(JsonException e)
    {
        if (Missing().Match(e.Message) is { Success: true } missing) return $"body: {Shown(missing)}: missing";
        if (Unknown().Match(e.Message) is { Success: true } unknown) return $"body: {Shown(unknown)}: unknown key";
        if (e.Message.Contains("could not be converted", StringComparison.Ordinal) || e.Message.Contains("null", StringComparison.Ordinal))
            return $"body: {BadInputException.Shown(e.Path?.TrimStart('$', '.') ?? "")}: not a value of its kind";
        return $"body: no JSON: {BadInputException.Shown(e.Message.Split(" Path:")[0])}";
    }

    private static string Shown(Match match) => BadInputException.Shown(match.Groups[1].Value);

    [GeneratedRegex("missing required properties including: '([^']*)'")]
    private static partial Regex Missing();

    [GeneratedRegex("^The JSON property '(.*)' could not be mapped")]
    private static partial Regex Unknown();
}
