using System.Globalization;
using FedRLora.Abstractions;

namespace FedRLora.Training.Gguf;

/// <summary>
/// The tokens of a GGUF file with a role. One that the file does not name is not there: no family's default takes its place.
/// </summary>
/// <param name="Begin">Begins a text.</param>
/// <param name="Ends">End a text, a turn or a message; the text's own first.</param>
/// <param name="Padding">Fills a row up.</param>
/// <param name="Unknown">Stands for what the vocabulary cannot spell.</param>
internal sealed record GgufRoles(int? Begin, IReadOnlyList<int> Ends, int? Padding, int? Unknown)
{
    public const string BeginKey = "tokenizer.ggml.bos_token_id";
    public const string PaddingKey = "tokenizer.ggml.padding_token_id";
    public const string UnknownKey = "tokenizer.ggml.unknown_token_id";
    private const string EndKey = "tokenizer.ggml.eos_token_id";

    /// <summary>Of what ends a text, a turn and a message.</summary>
    public static IReadOnlyList<string> EndKeys { get; } = [EndKey, "tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"];

    /// <summary>The token that ends a text.</summary>
    public int? End { get; private init; }

    /// <summary>Reads the ids.</summary>
    /// <exception cref="BadInputException">An id is no token's.</exception>
    public static GgufRoles Read(GgufMetadata metadata)
    {
        var ends = EndKeys.Select(key => Id(metadata, key)).OfType<int>().Distinct();
        return new(
            Id(metadata, BeginKey), [.. ends], Id(metadata, PaddingKey), Id(metadata, UnknownKey))
        {
            End = Id(metadata, EndKey),
        };
    }

    private static int? Id(GgufMetadata metadata, string key)
    {
        if (metadata.OptionalInteger(key) is not { } id) return null;
        var tokens = metadata.CountOf(GgufVocabulary.TokensKey) ?? int.MaxValue;
        return id >= 0 && id < tokens
            ? (int)id
            : throw metadata.Wrong(
                key, id.ToString(CultureInfo.InvariantCulture), $"the id of one of the {tokens} tokens of {GgufVocabulary.TokensKey}");
    }
}
