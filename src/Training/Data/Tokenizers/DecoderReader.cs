using FedRLora.Training.Data.Tokenizers.PreTokenizers;

namespace FedRLora.Training.Data.Tokenizers;

/// <summary>Reads the <c>decoder</c> of a <c>tokenizer.json</c>, which makes text of tokens.</summary>
internal static class DecoderReader
{
    // Room for what a replacement may write, beside a multiple of the text.
    private const long MaxSmallText = 1 << 16;
    private const int MaxGrowth = 64;

    public static Func<IReadOnlyList<string>, IReadOnlyList<string>> Read(Setting? decoder)
    {
        if (decoder is null) return static tokens => [string.Join(' ', tokens)];
        var steps = Steps(decoder).ToArray();
        return tokens =>
        {
            var limit = Room(tokens);
            foreach (var step in steps)
            {
                tokens = step(tokens);
                if (Length(tokens) > limit)
                    throw decoder.Bad($"makes a text of {Length(tokens)} characters, expected at most {limit}; check its replacements");
            }

            return tokens;
        };
    }

    private static IEnumerable<Func<IReadOnlyList<string>, IReadOnlyList<string>>> Steps(Setting decoder)
    {
        var type = decoder.Type;
        return type == "Sequence"
            ? decoder.Only("type", "decoders").Steps("decoders", "decoder").SelectMany(Steps)
            : [Step(decoder.Named(type), type)];
    }

    private static Func<IReadOnlyList<string>, IReadOnlyList<string>> Step(Setting step, string type)
    {
        switch (type)
        {
            case "ByteLevel":
                step.Only("type", "add_prefix_space", "trim_offsets", "use_regex");
                return ByteLevel.Decode;
            case "ByteFallback":
                step.Only("type");
                return Decoders.ByteFallback;
            case "Fuse":
                step.Only("type");
                return static tokens => [string.Concat(tokens)];
            case "Metaspace":
                return Metaspace.Read(step).Decode;
            case "WordPiece":
                step.Only("type", "prefix", "cleanup");
                var (prefix, cleanup) = (step.OptionalText("prefix") ?? "##", step.Flag("cleanup", absent: true));
                return tokens => Decoders.WordPiece(tokens, prefix, cleanup);
            case "BPEDecoder":
                step.Only("type", "suffix");
                var suffix = (step.OptionalText("suffix") ?? "</w>") is { Length: > 0 } text ? text : throw step.Bad("has an empty suffix");
                return tokens => Decoders.EndOfWord(tokens, suffix);
            case "Replace":
                step.Only("type", "pattern", "content");
                var (pattern, content) = (Pattern.Read(step), step.OptionalText("content") ?? "");
                return tokens => Replace(tokens, pattern, content);
            case "Strip":
                step.Only("type", "content", "start", "stop");
                var (strip, start, stop) = (step.Character("content"), step.Count("start", absent: 0), step.Count("stop", absent: 0));
                return tokens => Decoders.Strip(tokens, strip, start, stop);
            default:
                throw step.Bad("is not implemented");
        }
    }

    private static List<string> Replace(IReadOnlyList<string> tokens, Pattern pattern, string content)
    {
        var room = Room(tokens);
        var result = new List<string>(tokens.Count);
        foreach (var token in tokens)
        {
            result.Add(pattern.Replace(token, content, room));
            room -= Math.Max(0, result[^1].Length - token.Length);
        }

        return result;
    }

    private static long Room(IReadOnlyList<string> tokens) => MaxSmallText + MaxGrowth * Length(tokens);

    private static long Length(IReadOnlyList<string> tokens) => tokens.Sum(static token => (long)token.Length);
}
