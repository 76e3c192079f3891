using System.Text.Json;
using FedRLora.Training.Data.Chat.Jinja;

namespace FedRLora.Training.Data.Chat;

/// <summary>Messages as they were written, and the tools that the assistant may call.</summary>
public sealed class Conversation
{
    private readonly IReadOnlyList<DictValue> _messages;
    private readonly Value _tools;

    private Conversation(IReadOnlyList<DictValue> messages, Value tools, long length) =>
        (_messages, _tools, Length) = (messages, tools, length);

    /// <summary>Characters of its JSON, about.</summary>
    public long Length { get; }

    /// <summary>How many messages there are.</summary>
    public int Count => _messages.Count;

    /// <summary>Places of the assistant's messages.</summary>
    internal IEnumerable<int> AssistantTurns =>
        Enumerable.Range(0, Count).Where(place => _messages[place]["role"] is TextValue { Value: "assistant" });

    /// <summary>Those that loss is on: their <c>weight</c> is not 0.</summary>
    internal IEnumerable<int> LearnedTurns =>
        AssistantTurns.Where(place => _messages[place]["weight"] is not (IntValue { Value: 0 } or FloatValue { Value: 0 }));

    /// <summary>
    /// The last learned message as text, whatever form its content has: what evaluation asks for. Empty where it only calls tools.
    /// </summary>
    internal string Answer => TextOf(_messages[LearnedTurns.Last()]["content"]);

    /// <summary>All messages as one text, equal for equal conversations.</summary>
    internal string Text =>
        string.Concat(_messages.Select(static message => $"{TextOf(message["role"])}\u0001{TextOf(message["content"])}\u0002"));

    /// <summary>Messages and tools with all that they hold, as JSON.</summary>
    internal string Json => JsonText.Write(Value.List([Value.List(_messages), _tools]));

    internal bool HasTools => _tools is ListValue { Items.Count: > 0 };

    internal IEnumerable<KeyValuePair<string, Value>> Variables =>
        [new("messages", Value.List(_messages)), new("tools", HasTools ? _tools : Value.None), new("documents", Value.None)];

    /// <summary>Messages of plain text, for a program that talks.</summary>
    public static Conversation Of(params IEnumerable<(string Role, string Content)> messages)
    {
        var list = messages.Select(
            static message => Message(("role", Value.Of(message.Role)), ("content", Value.Of(message.Content)))).ToList();
        return new(list, Value.None, list.Sum(static message => 32L + ((TextValue)message["content"]!).Value.Length));
    }

    /// <summary>Reads the values of the keys <c>messages</c> and <c>tools</c>.</summary>
    /// <exception cref="JinjaException">What is wrong with them.</exception>
    internal static Conversation Read(JsonElement messages, JsonElement? tools)
    {
        if (messages.ValueKind != JsonValueKind.Array || messages.GetArrayLength() == 0)
            throw new JinjaException("\"messages\" has no messages; make it a list of objects with \"role\" and \"content\"");
        var list = new List<DictValue>();
        foreach (var element in messages.EnumerateArray())
        {
            var name = $"message {list.Count + 1}";
            if (WithoutNulls(JsonText.Read(element)) is not DictValue message)
                throw new JinjaException($"{name} is no object; make it {{\"role\": ..., \"content\": ...}}");
            if (message["role"] is not TextValue { Value.Length: > 0 })
                throw new JinjaException($"{name} has no \"role\"; give it one, for example \"user\" or \"assistant\"");
            if (message["content"] is null or NoneValue && message["tool_calls"] is null or NoneValue)
                throw new JinjaException($"{name} has no \"content\"; give it one");
            if (message["weight"] is { } weight and not (IntValue { Value: 0 or 1 } or FloatValue { Value: 0 or 1 }))
                throw new JinjaException($"{name} has a \"weight\" that is {weight.Kind}; make it 0 (no loss on it) or 1");
            list.Add(message);
        }

        var offered = tools is { } given ? WithoutNulls(JsonText.Read(given)) : Value.None;
        if (offered is not (NoneValue or ListValue)) throw new JinjaException("\"tools\" is no list; make it a list of objects");
        return new(list, offered, messages.GetRawText().Length + (tools?.GetRawText().Length ?? 0));
    }

    /// <summary>The first messages, with the same tools.</summary>
    internal Conversation First(int count) => new([.. _messages.Take(count)], _tools, Length);

    /// <summary>With another text as the last learned message.</summary>
    internal Conversation WithAnswer(string answer)
    {
        if (Answer == answer) return this;
        var place = LearnedTurns.Last();
        var message = Message([.. _messages[place].Entries.Select(static entry => (((TextValue)entry.Key).Value, entry.Value))]);
        message.Entries[Value.Of("content")] = InFormOf(message["content"], answer);
        return new([.. _messages.Take(place), message, .. _messages.Skip(place + 1)], _tools, Length + answer.Length);
    }

    // Of a list of parts, what its parts of text say.
    private static string TextOf(Value? content) => content switch
    {
        TextValue text => text.Value,
        ListValue list => string.Concat(list.Items.Select(static part => TextOf(part is DictValue dict ? dict["text"] : part))),
        _ => "",
    };

    // A template may write a list of parts in another way than a text.
    private static Value InFormOf(Value? content, string answer) => content is ListValue
        ? Value.List([Message(("type", Value.Of("text")), ("text", Value.Of(answer)))])
        : Value.Of(answer);

    // Tables give every message and every part all of their columns: null is absent. Content alone may be none for a template, beside
    // calls of tools.
    private static Value WithoutNulls(Value value)
    {
        if (value is ListValue list) return Value.List([.. list.Items.Select(WithoutNulls)]);
        if (value is not DictValue dict) return value;
        var kept = new DictValue();
        foreach (var (key, entry) in dict.Entries)
        {
            if (entry is not NoneValue || key is TextValue { Value: "content" }) kept.Entries[key] = WithoutNulls(entry);
        }

        return kept;
    }

    private static DictValue Message(params ReadOnlySpan<(string Key, Value Value)> entries)
    {
        var message = new DictValue();
        foreach (var (key, value) in entries) message.Entries[Value.Of(key)] = value;
        return message;
    }
}
