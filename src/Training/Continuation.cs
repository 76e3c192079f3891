using FedRLora.Abstractions;
using FedRLora.Training.Data.Chat;
using FedRLora.Training.Data.Tokenizers;
using FedRLora.Training.Models;

namespace FedRLora.Training;

/// <summary>From a text to the text that goes on from it: one way for an adapter folder and for a client of a run.</summary>
internal static class Continuation
{
    /// <summary>The tokens to go on from.</summary>
    /// <param name="model">The base.</param>
    /// <param name="text">Its special tokens are added before it, as in training.</param>
    /// <param name="isChat">Whether it is a user's message to answer through the model's chat template.</param>
    /// <exception cref="BadInputException">The prompt is empty or leaves no room, or the folder has no template.</exception>
    public static int[] PromptOf(FrozenBase model, string text, bool isChat)
    {
        var ids = isChat ? OfMessage(model, text) : model.Tokenizer.EncodePrompt(text);
        var bound = model.Model.Config.MaxPositions;
        if (ids.Length == 0) throw new BadInputException("prompt: no token in it, and this tokenizer adds none; give a text to go on from");
        return ids.Length < bound ? ids
            : throw new BadInputException($"prompt: {ids.Length} tokens leave no room, the model takes {bound} in all");
    }

    /// <summary>The text behind a prompt, up to an end token or a stop text; what a token adds, which may be nothing yet.</summary>
    /// <param name="model">The base.</param>
    /// <param name="adapters">Added to its linear layers; null for the base alone.</param>
    /// <param name="promptIds">Of <see cref="PromptOf"/>.</param>
    /// <param name="sampling">How tokens are chosen and what ends the text besides the model's end tokens.</param>
    /// <param name="cancellationToken">Looked at before each token.</param>
    public static IEnumerable<string> Texts(
        FrozenBase model, ILayerAdapters? adapters, int[] promptIds, SamplingOptions sampling, CancellationToken cancellationToken)
    {
        var options = sampling with { EndIds = [.. model.EndIds, .. sampling.EndIds] };
        var (text, stop) = (new StreamedText(model.Tokenizer, promptIds), new StopTexts(options.StopTexts));
        foreach (var id in Generation.Tokens(model.Model, adapters, promptIds, options, cancellationToken))
        {
            yield return stop.Add(text.Add(id));
            if (stop.Found) yield break;
        }

        yield return stop.Add(text.Rest()) + stop.Rest();
    }

    private static int[] OfMessage(FrozenBase model, string message)
    {
        var template = model.Chat ?? throw new BadInputException(
            "chat: the model folder has no chat template; add chat_template.jinja, or tokenizer_config.json with chat_template");
        return model.Tokenizer.Encode(
            template.Render(Conversation.Of(("user", message)), addGenerationPrompt: true).Text, addSpecialTokens: false);
    }
}
