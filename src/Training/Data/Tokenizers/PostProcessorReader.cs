using System.Text.Json;

namespace FedRLora.Training.Data.Tokenizers;

/// <summary>The special tokens around a text.</summary>
internal sealed record SpecialIds(IReadOnlyList<int> Before, IReadOnlyList<int> After);

/// <summary>Reads the <c>post_processor</c> of a <c>tokenizer.json</c>; of its templates, the one for a single text.</summary>
internal static class PostProcessorReader
{
    /// <param name="processor">The section, or null.</param>
    /// <param name="known">Ids of the vocabulary and of added tokens.</param>
    public static SpecialIds Read(Setting? processor, IReadOnlySet<int> known)
    {
        var (before, after) = (new List<int>(), new List<int>());
        foreach (var step in processor is null ? [] : Steps(processor, known))
        {
            before.InsertRange(0, step.Before);
            after.AddRange(step.After);
        }

        return new SpecialIds(before, after);
    }

    private static IEnumerable<SpecialIds> Steps(Setting processor, IReadOnlySet<int> known)
    {
        var type = processor.Type;
        return type == "Sequence"
            ? processor.Only("type", "processors").Steps("processors", "post_processor").SelectMany(step => Steps(step, known))
            : [Step(processor.Named(type), type, known)];
    }

    private static SpecialIds Step(Setting step, string type, IReadOnlySet<int> known)
    {
        switch (type)
        {
            case "ByteLevel": // concerns offsets only
                step.Only("type", "add_prefix_space", "trim_offsets", "use_regex");
                return new SpecialIds([], []);
            case "BertProcessing":
                step.Only("type", "sep", "cls");
                return new SpecialIds([Named(step, "cls", known)], [Named(step, "sep", known)]);
            case "RobertaProcessing": // the rest concerns offsets
                step.Only("type", "sep", "cls", "trim_offsets", "add_prefix_space");
                return new SpecialIds([Named(step, "cls", known)], [Named(step, "sep", known)]);
            case "TemplateProcessing":
                return Template(step, known);
            default:
                throw step.Bad("is not implemented");
        }
    }

    // ["[SEP]", 102]
    private static int Named(Setting step, string key, IReadOnlySet<int> known) =>
        step.Get(key) is { ValueKind: JsonValueKind.Array } pair && pair.GetArrayLength() == 2
            ? Known(step, pair[1], key, known)
            : throw step.Bad($"{key} is {Setting.Shorten(step.Get(key))}, expected [token, id]");

    private static SpecialIds Template(Setting step, IReadOnlySet<int> known)
    {
        step.Only("type", "single", "pair", "special_tokens"); // pair: no pairs of texts here
        var special = step.Child("special_tokens") ?? throw step.Bad("has no special_tokens");
        var (before, after) = (new List<int>(), new List<int>());
        var seen = false;
        foreach (var item in step.Steps("single", $"{step.Name}.single"))
        {
            if (!seen && item.Child("Sequence") is { } sequence && sequence.Text("id") == "A") seen = true;
            else if (item.Child("SpecialToken") is { } token && special.Child(token.Text("id")) is { } entry)
                (seen ? after : before).AddRange(
                    (entry with { Name = step.Name }).List("ids").Select(id => Known(step, id, "special_tokens", known)));
            else
                throw step.Bad(
                    $"has {Setting.Shorten(item.Value)} in single, expected sequence A once and special tokens that special_tokens has");
        }

        return seen ? new SpecialIds(before, after) : throw step.Bad("has no sequence A in single");
    }

    private static int Known(Setting step, JsonElement value, string key, IReadOnlySet<int> known) =>
        step.TokenId(value, key) is var id && known.Contains(id)
            ? id
            : throw step.Bad($"{key} names token id {id}, which is not in the vocabulary");
}
