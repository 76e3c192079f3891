using static TorchSharp.torch;

namespace FedRLora.Training.Models;

/// <summary>Text generation, one sequence at a time.</summary>
public static class Generation
{
    /// <summary>The most likely continuation, token by token; every step computes the whole sequence again.</summary>
    /// <param name="model">The frozen model.</param>
    /// <param name="adapters">Added to its linear layers; null for the frozen model.</param>
    /// <param name="promptIds">At least one token.</param>
    /// <param name="maxNewTokens">Upper bound on the result; the model's longest sequence is another.</param>
    /// <param name="eosId">Ends the generation and is the last token of the result; null to go on to the bound.</param>
    /// <param name="cancellationToken">Looked at before each token.</param>
    /// <returns>The new tokens, without the prompt.</returns>
    public static IReadOnlyList<int> Greedy(
        CausalLanguageModel model, ILayerAdapters? adapters, IReadOnlyList<int> promptIds, int maxNewTokens, int? eosId, CancellationToken cancellationToken = default) =>
        [.. GreedyTokens(model, adapters, promptIds, maxNewTokens, eosId, cancellationToken)];

    /// <summary>The same, each token as soon as it is there; enumerate on the thread that the model's tensors are used on.</summary>
    /// <inheritdoc cref="Greedy" path="/param"/>
    public static IEnumerable<int> GreedyTokens(
        CausalLanguageModel model, ILayerAdapters? adapters, IReadOnlyList<int> promptIds, int maxNewTokens, int? eosId, CancellationToken cancellationToken = default)
    {
        if (promptIds.Count == 0) throw new ArgumentException("The prompt is empty; begin with the begin token.", nameof(promptIds));
        var ids = promptIds.Select(static id => (long)id).ToList();
        var bound = Math.Min((long)promptIds.Count + maxNewTokens, model.Config.MaxPositions);
        while (ids.Count < bound)
        {
            cancellationToken.ThrowIfCancellationRequested();
            var next = Next(model, adapters, ids);
            ids.Add(next);
            yield return (int)next;
            if (next == eosId) break;
        }
    }

    private static long Next(CausalLanguageModel model, ILayerAdapters? adapters, List<long> ids)
    {
        using var scope = NewDisposeScope();
        using var inference = no_grad();
        var input = tensor(ids.ToArray(), [1, ids.Count], ScalarType.Int64, model.Device);
        var last = model.Hidden(input, null, adapters).narrow(1, ids.Count - 1, 1);
        return model.LogitsOf(last, adapters).argmax(-1).cpu().item<long>();
    }
}
