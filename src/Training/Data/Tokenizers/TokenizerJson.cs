using System.Text.Json;
using FedRLora.Abstractions;
using FedRLora.Training.Data.Tokenizers.Models;
using FedRLora.Training.Data.Tokenizers.Normalizers;
using FedRLora.Training.Data.Tokenizers.PreTokenizers;
using FedRLora.Training.Models.Weights;

namespace FedRLora.Training.Data.Tokenizers;

/// <summary>
/// Reads <c>tokenizer.json</c>. Every type and every setting that is not implemented is refused by name: a tokenizer that is
/// nearly right trains a model on wrong ids without a sign.
/// </summary>
internal static class TokenizerJson
{
    /// <summary>The document's name.</summary>
    public const string Name = "tokenizer.json";

    /// <summary>Reads and checks a model's whole document.</summary>
    /// <exception cref="BadInputException">Not valid, or it uses a part that is not implemented.</exception>
    public static TokenizerParts Read(ModelSource source)
    {
        var path = source.Called(Name);
        try
        {
            using var document = JsonDocument.Parse(source.Text(Name));
            return Parts(new Setting(path, Name, document.RootElement));
        }
        catch (Exception exception) when (exception is JsonException or InvalidOperationException)
        {
            throw new BadInputException($"{path}: cannot be read: {exception.Message.ReplaceLineEndings(" ")}", exception);
        }
    }

    private static TokenizerParts Parts(Setting root)
    {
        // truncation and padding are defaults for callers; callers here say themselves what they want.
        root.Only("version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer", "model", "post_processor", "decoder");
        var normalizer = NormalizerReader.Read(root.Child("normalizer"));
        var model = ModelReader.Read(root.Child("model") ?? throw root.Bad("model is missing"));
        var added = ReadAdded(root);
        var known = model.Vocabulary.Values.Concat(added.Select(static token => token.Id)).ToHashSet();
        return new TokenizerParts
        {
            Normalizer = normalizer,
            Added = new AddedTokens(added, normalizer),
            PreTokenizer = PreTokenizerReader.Read(root.Child("pre_tokenizer")),
            Model = model,
            Around = PostProcessorReader.Read(root.Child("post_processor"), known),
            Decoder = DecoderReader.Read(root.Child("decoder")),
        };
    }

    private static List<AddedToken> ReadAdded(Setting root) => root.Child("added_tokens") is null ? [] :
    [
        .. root.Steps("added_tokens", "added_tokens").Select(static token =>
        {
            token.Only("id", "content", "special", "normalized", "single_word", "lstrip", "rstrip");
            return new AddedToken(
                token.TokenId("id"), token.Text("content"), token.Flag("special"), token.Flag("normalized", absent: true),
                token.Flag("single_word"), token.Flag("lstrip"), token.Flag("rstrip"));
        }),
    ];
}
