using System.Text;

namespace FedRLora.Training.Data.Tokenizers.Normalizers;

/// <summary>Reads the <c>normalizer</c> of a <c>tokenizer.json</c>: text in, text out.</summary>
internal static class NormalizerReader
{
    // A text may grow: NFKC spells one character by up to eighteen. A file whose replacements feed each other must not fill the memory.
    private const int MaxGrowth = 64;
    private const int MaxSmallText = 1 << 16;

    public static Func<string, string> Read(Setting? normalizer)
    {
        if (normalizer is null) return static text => text;
        var steps = Steps(normalizer).ToArray();
        return text =>
        {
            var limit = Math.Max(MaxSmallText, (long)MaxGrowth * text.Length);
            foreach (var step in steps)
            {
                text = step(text);
                if (text.Length > limit)
                    throw normalizer.Bad($"makes a text of {text.Length} characters, expected at most {limit}; check its replacements");
            }

            return text;
        };
    }

    private static IEnumerable<Func<string, string>> Steps(Setting normalizer)
    {
        var type = normalizer.Type;
        return type == "Sequence"
            ? normalizer.Only("type", "normalizers").Steps("normalizers", "normalizer").SelectMany(Steps)
            : [Step(normalizer.Named(type), type)];
    }

    private static Func<string, string> Step(Setting step, string type)
    {
        switch (type)
        {
            case "NFC" or "NFD" or "NFKC" or "NFKD":
                step.Only("type");
                return UnicodeNormalization.Form(compatible: type.Contains('K', StringComparison.Ordinal), composed: type.EndsWith('C'));
            case "Lowercase":
                step.Only("type");
                return CharacterFilters.Lowercase;
            case "Strip":
                step.Only("type", "strip_left", "strip_right");
                var (left, right) = (step.Flag("strip_left", absent: true), step.Flag("strip_right", absent: true));
                return text => (left ? text.AsSpan().TrimStart() : text) is var trimmed && right
                    ? trimmed.TrimEnd().ToString() : trimmed.ToString();
            case "StripAccents":
                step.Only("type");
                return CharacterFilters.StripMarks;
            case "Nmt":
                step.Only("type");
                return CharacterFilters.Nmt;
            case "BertNormalizer":
                step.Only("type", "clean_text", "handle_chinese_chars", "strip_accents", "lowercase");
                return Bert(step);
            case "Precompiled":
                step.Only("type", "precompiled_charsmap");
                return PrecompiledMap.Read(step).Apply;
            case "Prepend":
                step.Only("type", "prepend");
                var prefix = step.OptionalText("prepend") ?? "";
                return text => text.Length == 0 ? text : prefix + text;
            case "Replace":
                step.Only("type", "pattern", "content");
                var (pattern, content) = (Pattern.Read(step), step.OptionalText("content") ?? "");
                return text => pattern.Replace(text, content, Math.Max(MaxSmallText, (long)MaxGrowth * text.Length));
            case "ByteLevel":
                step.Only("type");
                return PreTokenizers.ByteLevel.Show;
            default:
                throw step.Bad("is not implemented");
        }
    }

    private static Func<string, string> Bert(Setting step)
    {
        var lowercase = step.Flag("lowercase", absent: true);
        List<Func<string, string>> parts = [];
        if (step.Flag("clean_text", absent: true)) parts.Add(CharacterFilters.Clean);
        if (step.Flag("handle_chinese_chars", absent: true)) parts.Add(CharacterFilters.SpaceIdeographs);
        if (step.OptionalFlag("strip_accents") ?? lowercase)
        {
            parts.Add(UnicodeNormalization.Form(compatible: false, composed: false));
            parts.Add(CharacterFilters.StripNonspacingMarks);
        }

        if (lowercase) parts.Add(CharacterFilters.Lowercase);
        return text => parts.Aggregate(text, static (current, part) => part(current));
    }
}
