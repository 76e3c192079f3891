using System.Globalization;
using System.Text.Json;
using FedRLora.Abstractions;
using FedRLora.Training.Data.Tokenizers;
using FedRLora.Training.Gguf;
using FedRLora.Training.Models;
using FedRLora.Training.Models.Weights;

namespace FedRLora.Training.Conversion;

/// <summary>
/// Writes tokenizer and chat template of a model folder as the metadata that <see cref="GgufTokenizer"/> reads. What was written is read
/// again and compared: a tokenizer that would come back as another is refused.
/// </summary>
internal static class TokenizerToGguf
{
    private const string Document = "tokenizer.json";

    /// <summary>Adds the keys.</summary>
    /// <param name="writer">Gets them.</param>
    /// <param name="source">The folder.</param>
    /// <param name="config">Its configuration.</param>
    /// <param name="notes">Gets what was left out, a line each.</param>
    /// <exception cref="BadInputException">A part of the tokenizer has no word in GGUF; it is named.</exception>
    public static void Set(GgufWriter writer, ModelSource source, ModelConfig config, List<string> notes)
    {
        if (!source.Has(Document))
        {
            writer.Set(GgufTokenizer.ModelKey, GgufTokenizer.None)
                .Set(GgufRoles.BeginKey, Known(config.BeginId))
                .Set(GgufRoles.PaddingKey, Known(config.PadId));
            SetEnds(writer, null, config.EndIds, source.Path, notes);
            notes.Add($"{source.Path}: has no {Document}; the file gets no tokenizer");
            return;
        }

        var (form, called) = (TokenizerForm.Read(source.Text(Document), source.Called(Document)), source.Called(Document));
        if (form.Vocabulary.Values.Max() >= config.VocabularySize)
        {
            throw new BadInputException($"{called}: has ids up to {form.Vocabulary.Values.Max()}, "
                + $"and the model's vocabulary ends at {config.VocabularySize - 1}");
        }

        SetVocabulary(writer, form, config.VocabularySize, called);
        SetRoles(writer, form, source, config, notes);
        ChatTemplatesToGguf.Set(writer, source);
        RequireSame(form, TokenizerForm.Read(GgufTokenizer.Text(writer.Metadata(called), Document)!, called), called);
    }

    private static void SetVocabulary(GgufWriter writer, TokenizerForm form, int size, string called)
    {
        var tokens = new string[size];
        var kinds = new int[size];
        for (var id = 0; id < size; id++)
        {
            tokens[id] = string.Create(CultureInfo.InvariantCulture, $"[PAD{id}]");
            kinds[id] = (int)GgufTokenKind.Unused;
        }

        foreach (var (token, id) in form.Vocabulary)
        {
            if (id < 0) throw new BadInputException($"{called}: \"{BadInputException.Shown(token)}\" has the id {id}");
            tokens[id] = token;
            kinds[id] = (int)KindOf(form, token, id);
        }

        writer.Set(GgufTokenizer.ModelKey, form.IsByteLevel ? "gpt2" : "llama");
        writer.Set(GgufPreTokenizer.Key, form.IsByteLevel ? PreTokenizerOf(form, called) : "default");
        writer.Set(GgufVocabulary.TokensKey, tokens);
        if (!form.IsByteLevel) writer.Set("tokenizer.ggml.scores", Scores(form, tokens, called));
        writer.Set("tokenizer.ggml.token_type", kinds);
        if (form.IsByteLevel) writer.Set("tokenizer.ggml.merges", [.. form.Merges.Select(static merge => $"{merge.Left} {merge.Right}")]);
        else writer.Set("tokenizer.ggml.add_space_prefix", form.AddsSpace);
    }

    private static GgufTokenKind KindOf(TokenizerForm form, string token, int id)
    {
        if (form.Added.TryGetValue(id, out var special))
        {
            return token == form.Unknown && special ? GgufTokenKind.Unknown
                : special ? GgufTokenKind.Control
                : GgufTokenKind.UserDefined;
        }

        return form.ByteFallback && token is ['<', '0', 'x', _, _, '>'] ? GgufTokenKind.Byte : GgufTokenKind.Normal;
    }

    // The name whose description reads back as this one.
    private static string PreTokenizerOf(TokenizerForm form, string called)
    {
        foreach (var name in GgufPreTokenizer.KnownNames)
        {
            var known = GgufPreTokenizer.Described(name);
            var read = TokenizerForm.Read(known, called);
            if ((read.Normalizer, read.PreTokenizer, read.IgnoresMerges) == (form.Normalizer, form.PreTokenizer, form.IgnoresMerges))
                return name;
        }

        throw new BadInputException($"{called}: how it cuts text into words is none of those that GGUF has a known name for "
            + $"({string.Join(", ", GgufPreTokenizer.KnownNames)}); without {Document} the file gets no tokenizer");
    }

    // SentencePiece joins what has the highest score. Pieces in the order of their merges have falling scores; which of a piece's merges
    // happen at all the comparison of what comes back shows.
    private static float[] Scores(TokenizerForm form, string[] tokens, string called)
    {
        var scoreOf = new Dictionary<string, float>(StringComparer.Ordinal);
        string? before = null;
        foreach (var (left, right) in form.Merges)
        {
            var piece = left + right;
            if (piece != before && !scoreOf.TryAdd(piece, -scoreOf.Count))
            {
                throw new BadInputException($"{called}: the merges of \"{BadInputException.Shown(piece)}\" do not follow one another, "
                    + $"so that no score says their order; without {Document} the file gets no tokenizer");
            }

            before = piece;
        }

        return [.. tokens.Select(token => scoreOf.TryGetValue(token, out var score) ? score : -scoreOf.Count - 1)];
    }

    private static void SetRoles(GgufWriter writer, TokenizerForm form, ModelSource source, ModelConfig config, List<string> notes)
    {
        var roles = SpecialTokens.Load(source);
        int? IdOf(SpecialToken token) =>
            token.Spelling is { } spelling && form.Vocabulary.TryGetValue(spelling, out var id) ? id : Known(token.Id);
        var (begin, end) = (IdOf(roles.Begin), IdOf(roles.End));
        writer.Set(GgufRoles.BeginKey, Around("post_processor begins a text with", form.Around.Begin, begin, "bos_token"));
        var eos = Around("post_processor ends a text with", form.Around.End, end, "eos_token");
        SetEnds(writer, eos, config.EndIds.Concat(FrozenBase.GenerationEndIds(source)), source.Path, notes);
        writer.Set(GgufRoles.UnknownKey, form.Unknown is { } unknown ? form.Vocabulary[unknown] : (long?)null);
        writer.Set(GgufRoles.PaddingKey, IdOf(roles.Pad));
        writer.Set("tokenizer.ggml.add_bos_token", form.Around.Begin is not null);
        writer.Set("tokenizer.ggml.add_eos_token", form.Around.End is not null);

        long? Around(string what, string? token, int? role, string key)
        {
            if (token is null) return role;
            var id = form.Vocabulary.TryGetValue(token, out var known) ? known : (int?)null;
            return id is not null && (role ?? id) == id
                ? id
                : throw new BadInputException($"{source.Called(Document)}: {what} \"{BadInputException.Shown(token)}\", and {key} is "
                    + $"{(role is null ? "no token of it" : $"token {role}")}; a GGUF file has one token for both");
        }
    }

    // The text's own first; the others end a turn or a message, for which the file has a key each.
    private static void SetEnds(GgufWriter writer, long? first, IEnumerable<int> others, string path, List<string> notes)
    {
        var ids = others.Where(static id => id >= 0).Select(static id => (long)id).Prepend(first ?? -1).Where(static id => id >= 0)
            .Distinct().ToList();
        foreach (var (key, id) in GgufRoles.EndKeys.Zip(ids)) writer.Set(key, id);
        if (ids.Count > GgufRoles.EndKeys.Count)
        {
            notes.Add($"{path}: a GGUF file names {GgufRoles.EndKeys.Count} tokens that end a text; left out are the ids "
                + string.Join(", ", ids.Skip(GgufRoles.EndKeys.Count)));
        }
    }

    // Some configurations say -1 for none.
    private static int? Known(int? id) => id >= 0 ? id : null;

    private static void RequireSame(TokenizerForm form, TokenizerForm read, string called)
    {
        void Require(bool same, string what)
        {
            if (!same)
            {
                throw new BadInputException($"{called}: {what} would come back from a GGUF file as another; "
                    + $"without {Document} the file gets no tokenizer");
            }
        }

        Require(form.Vocabulary.All(entry => read.Vocabulary.TryGetValue(entry.Key, out var id) && id == entry.Value), "vocab");
        Require(form.Added.Count == read.Added.Count && form.Added.All(entry => read.Added.TryGetValue(entry.Key, out var special)
            && special == entry.Value), "added_tokens");
        Require(form.Around == read.Around, "post_processor");
        Require(form.IsByteLevel == read.IsByteLevel && form.AddsSpace == read.AddsSpace, "normalizer");
        Require(!form.IsByteLevel || (form.Normalizer, form.PreTokenizer) == (read.Normalizer, read.PreTokenizer), "pre_tokenizer");
        Require((form.IgnoresMerges, form.ByteFallback) == (read.IgnoresMerges, read.ByteFallback), "model");
        Require(form.Unknown == read.Unknown || SpellsEveryByte(form), "unk_token");
        // Of SentencePiece only the pair counts that a piece is really joined of.
        var merges = form.Merges.ToHashSet();
        Require(form.IsByteLevel ? form.Merges.SequenceEqual(read.Merges) : read.Merges.All(merges.Contains), "merges");
    }

    private static bool SpellsEveryByte(TokenizerForm form) => form.IsByteLevel
        && Enumerable.Range(0, 256).All(value => form.Vocabulary.ContainsKey(Letter(value).ToString()));

    // GPT-2's byte alphabet.
    private static char Letter(int value) => value is >= 33 and <= 126 or >= 161 and <= 172 or >= 174 ? (char)value
        : value <= 32 ? (char)(256 + value)
        : value <= 160 ? (char)(256 + 33 + value - 127)
        : (char)(256 + 67);
}
