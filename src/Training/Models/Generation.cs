using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training.Models;

/// <summary>
/// Text generation, one sequence at a time, each token through the model once, or all of them for each where adapters see sequences.
/// </summary>
public static class Generation
{
    /// <summary>The most likely continuation.</summary>
    /// <param name="model">The frozen model.</param>
    /// <param name="adapters">Added to its linear layers; null for the frozen model.</param>
    /// <param name="promptIds">At least one token.</param>
    /// <param name="maxNewTokens">Upper bound on the result; the model's longest sequence is another.</param>
    /// <param name="endId">Ends the generation and is the last token of the result; null to go on to the bound.</param>
    /// <param name="cancellationToken">Looked at before each token.</param>
    /// <returns>The new tokens, without the prompt.</returns>
    public static IReadOnlyList<int> Greedy(
        CausalLanguageModel model, ILayerAdapters? adapters, IReadOnlyList<int> promptIds, int maxNewTokens, int? endId,
        CancellationToken cancellationToken = default) =>
        [.. Tokens(model, adapters, promptIds, new() { MaxNewTokens = maxNewTokens, EndIds = endId is { } id ? [id] : [] },
            cancellationToken)];

    /// <summary>A continuation, each token as soon as it is there; enumerate on the thread that the model's tensors are used on.</summary>
    /// <param name="model">The frozen model.</param>
    /// <param name="adapters">Added to its linear layers; null for the frozen model.</param>
    /// <param name="promptIds">At least one token.</param>
    /// <param name="options">How tokens are chosen and when to end; the model's longest sequence is another bound.</param>
    /// <param name="cancellationToken">Looked at before each token.</param>
    /// <returns>The new tokens, without the prompt; an end token is the last.</returns>
    /// <exception cref="ArgumentException">No token to begin with, or an option out of range.</exception>
    public static IEnumerable<int> Tokens(
        CausalLanguageModel model, ILayerAdapters? adapters, IReadOnlyList<int> promptIds, SamplingOptions options,
        CancellationToken cancellationToken = default)
    {
        if (promptIds.Count == 0) throw new ArgumentException("The prompt is empty; begin with the begin token.", nameof(promptIds));
        return Continue(model, adapters, [.. promptIds.Select(static id => (long)id)], new Sampler(options), options, cancellationToken);
    }

    private static IEnumerable<int> Continue(
        CausalLanguageModel model, ILayerAdapters? adapters, long[] ids, Sampler chosen, SamplingOptions options,
        CancellationToken cancellationToken)
    {
        using var sampler = chosen;
        using var cache = adapters?.SeesSequences == true ? null : new KeyValueCache();
        var bound = Math.Min(options.MaxNewTokens, model.Config.MaxPositions - ids.Length);
        for (var made = 0; made < bound; made++)
        {
            cancellationToken.ThrowIfCancellationRequested();
            var next = sampler.Next(LogitsAfter(model, adapters, ids, cache));
            yield return next;
            if (options.EndIds.Contains(next)) break;
            ids = cache is null ? [.. ids, next] : [next];
        }
    }

    private static float[] LogitsAfter(CausalLanguageModel model, ILayerAdapters? adapters, long[] ids, KeyValueCache? cache)
    {
        using var scope = NewDisposeScope();
        using var inference = no_grad();
        var input = tensor(ids, [1, ids.Length], ScalarType.Int64, model.Device);
        var last = model.Hidden(input, null, adapters, cache: cache).narrow(1, ids.Length - 1, 1);
        return model.LogitsOf(last, adapters).to(ScalarType.Float32).cpu().contiguous().data<float>().ToArray();
    }
}
