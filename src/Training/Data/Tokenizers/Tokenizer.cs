using System.Text;
using FedRLora.Abstractions;
using FedRLora.Training.Data.Tokenizers.Models;
using FedRLora.Training.Data.Tokenizers.PreTokenizers;
using FedRLora.Training.Models.Weights;

namespace FedRLora.Training.Data.Tokenizers;

/// <summary>
/// The tokenizer of a model, read from <c>tokenizer.json</c>: added tokens, normalizer, pre-tokenizer, model,
/// post-processor, decoder, in that order. Safe to share between threads.
/// </summary>
public sealed class Tokenizer
{
    private readonly TokenizerParts _parts;
    private readonly Dictionary<int, string> _tokenOf = [];
    private readonly HashSet<int> _special;

    private Tokenizer(ModelSource source, TokenizerParts parts, SpecialTokens special)
    {
        _parts = parts;
        foreach (var (token, id) in parts.Model.Vocabulary) _tokenOf[id] = token;
        foreach (var added in parts.Added.Tokens) _tokenOf[added.Id] = added.Content;
        _special = [.. parts.Added.Tokens.Where(static token => token.Special).Select(static token => token.Id)];
        VocabularySize = _tokenOf.Count == 0 ? 0 : _tokenOf.Keys.Max() + 1;
        BeginId = IdOf(source, "bos_token", special.Begin);
        EndId = IdOf(source, "eos_token", special.End);
        PadId = IdOf(source, "pad_token", special.Pad);
        TokenizerFolder.Check(source, parts, BeginId, EndId);
    }

    /// <summary>Highest token id plus one: what an embedding must at least hold.</summary>
    public int VocabularySize { get; }

    /// <summary>
    /// Token that begins a text, from <c>tokenizer_config.json</c>, <c>special_tokens_map.json</c> or <c>config.json</c>.
    /// </summary>
    public int? BeginId { get; }

    /// <summary>Token that ends a text.</summary>
    public int? EndId { get; }

    /// <summary>Padding token.</summary>
    public int? PadId { get; }

    /// <summary>Reads the tokenizer of a model.</summary>
    /// <param name="path">A Hugging Face folder or a GGUF file.</param>
    /// <exception cref="BadInputException">Missing, not valid, or it uses a part that is not implemented; the part is named.</exception>
    public static Tokenizer Load(string path) => Load(ModelSource.At(path));

    /// <inheritdoc cref="Load(string)"/>
    internal static Tokenizer Load(ModelSource source) => source.Has(TokenizerJson.Name)
        ? new Tokenizer(source, TokenizerJson.Read(source), SpecialTokens.Load(source))
        : throw new BadInputException(source is FolderSource
            ? $"{source.Path}: no tokenizer.json; put the model's there, or write one with save_pretrained of its fast tokenizer"
            : $"{source.Path}: no tokenizer in its metadata; write the file again with its vocabulary");

    /// <summary>Token ids of a text.</summary>
    /// <param name="text">Any text; an added token in it becomes that token, a lone surrogate U+FFFD.</param>
    /// <param name="addSpecialTokens">Whether the post-processor adds its tokens, such as the begin token.</param>
    /// <exception cref="BadInputException">
    /// A pattern of the file takes too long on this text, or its replacements make it grow without bound.
    /// </exception>
    public int[] Encode(string text, bool addSpecialTokens)
    {
        var ids = new List<int>(text.Length / 3 + 8);
        if (addSpecialTokens) ids.AddRange(_parts.Around.Before);
        Encode(text, ids, spelled: null);
        if (addSpecialTokens) ids.AddRange(_parts.Around.After);
        return [.. ids];
    }

    /// <summary>Token ids of a text that goes on: what a post-processor adds behind a whole text is not there yet.</summary>
    /// <inheritdoc cref="Encode(string, bool)" path="/exception"/>
    public int[] EncodePrompt(string text) => [.. _parts.Around.Before, .. Encode(text, addSpecialTokens: false)];

    /// <summary>
    /// Tokens of a text, one for each id: the vocabulary's spelling, but for a unigram model's unknown token the text it stands for.
    /// </summary>
    /// <exception cref="BadInputException">As <see cref="Encode(string, bool)"/>.</exception>
    public IReadOnlyList<string> Tokens(string text)
    {
        var spelled = new List<string>();
        Encode(text, [], spelled);
        return spelled;
    }

    /// <summary>Text of token ids, without clean-up of spaces; ids that the tokenizer does not have are left out.</summary>
    /// <param name="ids">Token ids.</param>
    /// <param name="skipSpecialTokens">Whether special tokens are left out.</param>
    public string Decode(IReadOnlyList<int> ids, bool skipSpecialTokens)
    {
        var tokens = new List<string>(ids.Count);
        foreach (var id in ids)
        {
            if (_tokenOf.TryGetValue(id, out var token) && !(skipSpecialTokens && _special.Contains(id))) tokens.Add(token);
        }

        return string.Concat(_parts.Decoder(tokens));
    }

    /// <summary>The vocabulary's spelling of each id.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The tokenizer has no such id.</exception>
    public IReadOnlyList<string> Tokens(IReadOnlyList<int> ids) => [.. ids.Select(id =>
        _tokenOf.TryGetValue(id, out var token)
            ? token
            : throw new ArgumentOutOfRangeException(nameof(ids), id, "The tokenizer has no such id."))];

    /// <summary>Id of a token by the vocabulary's spelling, or null.</summary>
    public int? IdOf(string? token) => token switch
    {
        null => null,
        _ when _parts.Added.Tokens.FirstOrDefault(added => added.Content == token) is { } added => added.Id,
        _ => _parts.Model.Vocabulary.TryGetValue(token, out var id) ? id : null,
    };

    private int? IdOf(ModelSource source, string role, SpecialToken token) => token.Spelling is not { } spelling
        ? token.Id
        : IdOf(spelling) ?? throw new BadInputException(
            $"{source.Path}: {role} is {BadInputException.Shown(spelling)}, which is no token of tokenizer.json; save the tokenizer "
            + "again with that token, or name one that it has");

    private void Encode(string text, List<int> ids, List<string>? spelled)
    {
        var begins = true;
        foreach (var raw in _parts.Added.Split(WellFormed(text), normalized: false))
        {
            if (raw.Id is { } id) Add(id, ids, spelled);
            else EncodeSegment(_parts.Normalizer(raw.Text), begins, ids, spelled);
            begins = false;
        }
    }

    private void EncodeSegment(string normalized, bool begins, List<int> ids, List<string>? spelled)
    {
        foreach (var piece in _parts.Added.Split(normalized, normalized: true))
        {
            if (piece.Id is { } id) Add(id, ids, spelled);
            else
            {
                foreach (var word in _parts.PreTokenizer([new Piece(piece.Text, 0, piece.Text.Length, begins)]))
                    Add(word.Span, ids, spelled);
            }

            begins = false;
        }
    }

    private void Add(int id, List<int> ids, List<string>? spelled)
    {
        ids.Add(id);
        spelled?.Add(_tokenOf[id]);
    }

    private void Add(ReadOnlySpan<char> word, List<int> ids, List<string>? spelled)
    {
        var from = ids.Count;
        _parts.Model.Encode(word, ids);
        if (spelled is null) return;
        spelled.AddRange(_parts.Model is Unigram unigram ? unigram.Spell(word) : Tokens(ids[from..]));
    }

    private static string WellFormed(string text)
    {
        if (!text.AsSpan().ContainsAnyInRange('\ud800', '\udfff')) return text;
        var result = new StringBuilder(text.Length);
        foreach (var rune in text.EnumerateRunes()) result.Append(rune);
        return result.ToString();
    }
}

/// <summary>The stages of a tokenizer.</summary>
internal sealed record TokenizerParts
{
    public required AddedTokens Added { get; init; }

    public required Func<string, string> Normalizer { get; init; }

    public required Func<List<Piece>, List<Piece>> PreTokenizer { get; init; }

    public required ITokenModel Model { get; init; }

    public required SpecialIds Around { get; init; }

    public required Func<IReadOnlyList<string>, IReadOnlyList<string>> Decoder { get; init; }
}
