using System.Globalization;
using System.Net;
using System.Text.Json;
using FedRLora.Abstractions;

namespace FedRLora.Client.Control;

/// <summary>What an answer that is no success comes to: one line and an exit code.</summary>
internal static class ControlErrors
{
    /// <summary>The version of the schema that this program speaks.</summary>
    public const int Schema = 1;

    private const int LongestText = 4000;

    /// <param name="server">Who answered.</param>
    /// <param name="status">How.</param>
    /// <param name="type">The answer's media type; null where it has none.</param>
    /// <param name="body">The beginning of the answer.</param>
    /// <param name="listsRuns">The command that lists the runs there.</param>
    public static Exception Of(NamedServer server, HttpStatusCode status, string? type, ReadOnlySpan<byte> body, string listsRuns)
    {
        if ((int)status is >= 300 and < 400)
            return new EnvironmentException(
                $"{server.Address} answers with a redirect ({(int)status}), which is not followed with a token; "
                    + "name the silo's own address with --server");
        var text = TextOf(server, body, out var foreign);
        if (foreign is not null) return foreign;
        if (text is null)
        {
            return status is HttpStatusCode.BadGateway or HttpStatusCode.ServiceUnavailable or HttpStatusCode.GatewayTimeout
                ? new NoAnswerException($"no silo answers behind {server.Address} (HTTP {(int)status})")
                : NoSilo(server, $"HTTP {(int)status}{(type is null ? "" : $", {type}")}");
        }

        return status switch
        {
            HttpStatusCode.Unauthorized when server.Token.Path.Length == 0 => new BadInputException(
                $"{server.Address}: {text}; name a token's file with --token-file FILE, or the folder of a certificate with --tls FOLDER"),
            HttpStatusCode.Unauthorized when server.Address.IsSecure && server.Token.Value is not null => new BadInputException(
                $"{server.Address} does not take the token in {server.Token.Path}: {text}"),
            HttpStatusCode.Unauthorized => new BadInputException(server.Token.Value is null
                ? $"{server.Address} asks for a token, and {server.Token.Path} is not there: another user started the silo, "
                    + "or it keeps its token elsewhere; name that file with --token-file FILE"
                : $"{server.Address} does not take the token in {server.Token.Path}; name the file of its own with --token-file FILE"),
            HttpStatusCode.Forbidden when server.Token.Value is null => new BadInputException($"{server.Address}: {text}"),
            HttpStatusCode.Forbidden => new BadInputException($"{server.Address}: {text} (it is in {server.Token.Path}); "
                + "name the file of another with --token-file FILE"),
            HttpStatusCode.NotFound => new NotThereException(
                text.Replace("GET /v1/runs lists them", $"{listsRuns} lists them", StringComparison.Ordinal)),
            HttpStatusCode.ServiceUnavailable or HttpStatusCode.BadGateway or HttpStatusCode.GatewayTimeout =>
                new NoAnswerException(text),
            HttpStatusCode.MisdirectedRequest or HttpStatusCode.TooManyRequests => new EnvironmentException($"{server.Address}: {text}"),
            >= HttpStatusCode.BadRequest and < HttpStatusCode.InternalServerError => new BadInputException(text),
            _ => new ControlException($"{server.Address}: {text}"),
        };
    }

    /// <summary>Whether a document is an answer of a silo of this schema.</summary>
    /// <exception cref="EnvironmentException">It is not.</exception>
    public static void RequireOwn(NamedServer server, JsonElement document)
    {
        if (document.ValueKind != JsonValueKind.Object || !document.TryGetProperty("schema", out var schema)
            || schema.ValueKind != JsonValueKind.Number || !schema.TryGetInt32(out var version))
            throw NoSilo(server, "its answer has no \"schema\"");
        if (version != Schema) throw OtherSchema(server, version);
    }

    /// <summary>What is said of an answer that no silo gives.</summary>
    public static EnvironmentException NoSilo(NamedServer server, string what, Exception? innerException = null) => new(
        $"what answers at {server.Address} is no silo of this program ({what}); name a silo's address with --server, as it printed it at "
        + "its start", innerException);

    /// <summary>A text of another process as a line: no control characters, no end of memory.</summary>
    public static string Line(string text)
    {
        var cut = text.Length > LongestText ? text[..LongestText] + "..." : text;
        return string.Concat(cut.Select(static c => char.GetUnicodeCategory(c) switch
        {
            UnicodeCategory.Control or UnicodeCategory.Format or UnicodeCategory.LineSeparator or UnicodeCategory.ParagraphSeparator => ' ',
            _ => c,
        }));
    }

    private static EnvironmentException OtherSchema(NamedServer server, int version) => new(
        $"the silo at {server.Address} speaks schema {version}, this program {Schema}: they are of different versions; use the program of "
        + "the silo's version");

    private static string? TextOf(NamedServer server, ReadOnlySpan<byte> body, out EnvironmentException? foreign)
    {
        foreign = null;
        try
        {
            var reader = new Utf8JsonReader(body);
            using var document = JsonDocument.ParseValue(ref reader);
            var root = document.RootElement;
            if (root.ValueKind != JsonValueKind.Object || !root.TryGetProperty("schema", out var schema)
                || schema.ValueKind != JsonValueKind.Number || !schema.TryGetInt32(out var version)) return null;
            if (version != Schema)
            {
                foreign = OtherSchema(server, version);
                return null;
            }

            return root.TryGetProperty("error", out var error) && error.ValueKind == JsonValueKind.String && error.GetString() is { } text
                ? Line(text) : null;
        }
        catch (JsonException)
        {
            return null;
        }
    }
}

/// <summary>There is no such run, or no such client.</summary>
internal sealed class NotThereException(string message) : BadInputException(message);

/// <summary>No silo answers now, though one may later.</summary>
internal sealed class NoAnswerException(string message, Exception? innerException = null) : EnvironmentException(message, innerException)
{
    /// <summary>Whether the question did not reach anybody.</summary>
    public bool WasNotSent { get; init; }
}

/// <summary>A silo could not do what was asked: exit code 1.</summary>
internal sealed class ControlException(string message) : Exception(message);
