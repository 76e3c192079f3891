using FedRLora.Abstractions.Messages;

namespace FedRLora.Abstractions.Ports;

/// <summary>Goes on from prompts with adapters of a run, on this silo's device.</summary>
public interface IPrompter
{
    /// <summary>
    /// The continuation of a prompt, piece by piece as it is made; pieces that follow one another make up the text. Work of runs goes on
    /// beside it.
    /// </summary>
    /// <param name="group">The plan, the committed round, its shared state and the one member that answers.</param>
    /// <param name="prompt">The prompt.</param>
    /// <param name="cancellationToken">Ends the continuation, also in the middle of it.</param>
    /// <exception cref="BadInputException">
    /// The prompt cannot be answered: it has too many tokens, or asks for a chat template that the model does not have. Nothing was
    /// yielded.
    /// </exception>
    IAsyncEnumerable<string> PromptAsync(TrainingGroup group, Prompt prompt, CancellationToken cancellationToken = default);
}
