using System.Text.Json;
using System.Text.RegularExpressions;
using FedRLora.Abstractions;
using Microsoft.AspNetCore.Http;

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
            return e.Path?.TrimStart('$', '.') is { Length: > 0 } key
                ? $"body: {BadInputException.Shown(key)}: not a value of its kind"
                : "body: not a JSON object";
        return $"body: no JSON: {BadInputException.Shown(e.Message.Split(" Path:")[0])}";
    }

    /// <summary>One line about a request whose parts could not be read.</summary>
    public static string Of(BadHttpRequestException e) => Parameter().Match(e.Message) is { Success: true } parameter
        ? $"{parameter.Groups[1].Value}: '{BadInputException.Shown(parameter.Groups[2].Value)}' is not a value of its kind"
        : e.Message.StartsWith("Implicit body", StringComparison.Ordinal) ? "body: not a JSON object"
        : e.Message.ReplaceLineEndings(" ");

    [GeneratedRegex("^Failed to bind parameter \"\\S+ (\\w+)\" from \"(.*)\"", RegexOptions.Singleline)]
    private static partial Regex Parameter();

    private static string Shown(Match match) => BadInputException.Shown(match.Groups[1].Value);

    [GeneratedRegex("missing required properties including: '([^']*)'")]
    private static partial Regex Missing();

    [GeneratedRegex("^The JSON property '(.*)' could not be mapped", RegexOptions.Singleline)]
    private static partial Regex Unknown();
}
