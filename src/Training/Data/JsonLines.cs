using System.Globalization;
using System.Text;
using System.Text.Json;
using FedRLora.Abstractions;
using FedRLora.Training.Data.Chat;
using FedRLora.Training.Data.Chat.Jinja;
using FedRLora.Training.Inputs;

namespace FedRLora.Training.Data;

/// <summary>A row as it was written.</summary>
/// <param name="Prompt">What is given; may be empty.</param>
/// <param name="Completion">What is learned.</param>
/// <param name="Label">What is scored; null where rows carry none.</param>
/// <param name="Line">Its line in the file, from 1.</param>
internal sealed record Example(string Prompt, string Completion, string? Label, int Line)
{
    /// <summary>
    /// Where the row is a conversation: the prompt is empty then, and the completion is the last message that is learned.
    /// </summary>
    public Conversation? Chat { get; init; }

    /// <summary>Whether the text gets two blanks where the completion begins: one is put between prompt and completion.</summary>
    public bool HasDoubleBlank =>
        Chat is null && Prompt.Length > 0 && (IsBlank(Prompt[^1]) || (Completion.Length > 0 && IsBlank(Completion[0])));

    public long SizeBytes => 2L * (Prompt.Length + Completion.Length) + 8 * (Chat?.Length ?? 0);

    private static bool IsBlank(char sign) => sign is ' ' or '\t' or '\u00a0';
}

/// <summary>JSON Lines with prompt and completion (and label), text and label, or messages (and tools, and label).</summary>
internal static class JsonLines
{
    private const string Expected = "expected one object with \"prompt\" and \"completion\", \"text\" and \"label\", or \"messages\"";

    /// <summary>Reads rows from <paramref name="offset"/> on; lines after the last one taken are not looked at.</summary>
    /// <exception cref="BadInputException">
    /// The file cannot be read, has too few rows, or a line is not valid; file and line are named.
    /// </exception>
    public static async Task<List<Example>> ReadAsync(string path, int offset, int? rows, CancellationToken cancellationToken)
    {
        var result = new List<Example>();
        await ForEachAsync(path, offset, rows, (text, line) => result.Add(Parse(text, path, line)), cancellationToken);
        return result;
    }

    /// <summary>Hands out the lines that <see cref="ReadAsync"/> takes, as they are written, with their numbers.</summary>
    /// <exception cref="BadInputException">The file cannot be read or has too few rows.</exception>
    public static async Task ForEachAsync(string path, int offset, int? rows, Action<string, int> take, CancellationToken cancellationToken)
    {
        GivenPath.RequireRows(path);
        int line = 0, row = 0, blank = 0, taken = 0;
        try
        {
            await foreach (var text in Utf8Text.ReadLinesAsync(path, cancellationToken))
            {
                line++;
                if (string.IsNullOrWhiteSpace(text))
                {
                    if (blank == 0) blank = line;
                    continue;
                }

                if (blank != 0) throw new BadInputException($"{path}:{blank}: the line is blank and rows follow; remove it");
                if (row++ < offset) continue;
                take(text, line);
                if (++taken == rows) break; // before the next line is read: it may be none
            }
        }
        catch (Exception exception) when (exception is FileNotFoundException or DirectoryNotFoundException)
        {
            throw new BadInputException($"{path}: no such file", exception);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw new BadInputException($"{path}: cannot be read: {exception.Message}", exception);
        }

        if (taken == 0) throw new BadInputException($"{path}: no row to take: the file has {row}, offset is {offset}");
        if (taken < rows) throw new BadInputException($"{path}: {rows} rows from offset {offset} were asked for, the file has {row}");
    }

    internal static Example Parse(string text, string path, int line)
    {
        try
        {
            using var document = JsonDocument.Parse(text);
            var root = document.RootElement;
            if (root.ValueKind != JsonValueKind.Object)
                throw new BadInputException($"{path}:{line}: found {Name(root.ValueKind)}; {Expected}");
            var label = Label(root, path, line);
            var (prompt, completion) = (Text(root, "prompt", path, line), Text(root, "completion", path, line));
            if (prompt is not null && completion is not null) return new(prompt, completion, label, line);
            if (Find(root, "messages") is { } messages) return OfChat(Conversation.Read(messages, Find(root, "tools")), label, line);
            var content = Text(root, "text", path, line);
            if (content is not null && label is not null) return new(content, label, label, line);
            if (prompt is not null) throw Missing("prompt", "completion", path, line);
            if (content is not null) throw Missing("text", "label", path, line);
            var keys = string.Join(", ", root.EnumerateObject().Select(static property => BadInputException.Shown(property.Name)).Take(5));
            throw new BadInputException(
                $"{path}:{line}: found an object with {(keys.Length == 0 ? "no keys" : $"the keys {keys}")}; {Expected}");
        }
        catch (JinjaException exception)
        {
            throw new BadInputException($"{path}:{line}: {exception.Message}", exception);
        }
        catch (InvalidOperationException exception)
        {
            throw new BadInputException($"{path}:{line}: a string has half of a character written as \\u...; {Expected}", exception);
        }
        catch (JsonException exception) when (Behind(text) is { } more)
        {
            throw new BadInputException($"{path}:{line}: {more}; {Expected}", exception);
        }
        catch (JsonException exception)
        {
            throw new BadInputException($"{path}:{line}: not valid JSON at byte {exception.BytePositionInLine}; {Expected}", exception);
        }
    }

    // What follows a whole object in its line; null for a line that is not valid for another reason.
    private static string? Behind(string text)
    {
        try
        {
            var bytes = Encoding.UTF8.GetBytes(text);
            var reader = new Utf8JsonReader(bytes);
            reader.Read();
            reader.Skip();
            var rest = Encoding.UTF8.GetString(bytes.AsSpan((int)reader.BytesConsumed)).Trim();
            return rest switch
            {
                "," => "the line ends with a comma, as in an array; leave it out",
                ['{' or ',', ..] => "the line goes on behind its object; write each object on a line of its own",
                _ => null,
            };
        }
        catch (JsonException)
        {
            return null;
        }
    }

    private static Example OfChat(Conversation conversation, string? label, int line) => conversation.LearnedTurns.Any()
        ? new("", conversation.Answer, label, line) { Chat = conversation }
        : throw new JinjaException("\"messages\" has no message of the assistant to learn; end it with one whose weight is not 0");

    // Tables of several forms have all columns in each row: null is absent.
    private static JsonElement? Find(JsonElement root, string key) =>
        root.TryGetProperty(key, out var value) && value.ValueKind != JsonValueKind.Null ? value : null;

    private static string? Text(JsonElement root, string key, string path, int line)
    {
        if (Find(root, key) is not { } value) return null;
        return value.ValueKind == JsonValueKind.String
            ? value.GetString()
            : throw new BadInputException($"{path}:{line}: \"{key}\" is {Name(value.ValueKind)}; make it a string");
    }

    private static string? Label(JsonElement root, string path, int line)
    {
        if (Find(root, "label") is not { } value) return null;
        return value.ValueKind switch
        {
            JsonValueKind.String => value.GetString(),
            JsonValueKind.Number => NumberLabel.Of(value.GetRawText()),
            JsonValueKind.True or JsonValueKind.False => value.GetRawText(),
            _ => throw new BadInputException($"{path}:{line}: \"label\" is {Name(value.ValueKind)}; make it a string or a number"),
        };
    }

    private static BadInputException Missing(string found, string missing, string path, int line) =>
        new($"{path}:{line}: found \"{found}\" without \"{missing}\"; {Expected}");

    private static string Name(JsonValueKind kind) => kind switch
    {
        JsonValueKind.Array => "an array",
        JsonValueKind.Object => "an object",
        JsonValueKind.String => "a string",
        JsonValueKind.Number => "a number",
        JsonValueKind.Null => "null",
        _ => "true or false",
    };
}
