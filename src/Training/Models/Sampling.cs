using FedRLora.Abstractions;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training.Models;

/// <summary>How a continuation chooses its tokens and when it ends.</summary>
public sealed record SamplingOptions
{
    /// <summary>0 takes the most likely token; otherwise logits are divided by it and a token is drawn.</summary>
    public double Temperature { get; init; }

    /// <summary>
    /// Draw from the smallest set of most likely tokens whose probabilities reach this sum; 0 excluded, 1 for all tokens.
    /// </summary>
    public double TopP { get; init; } = 1;

    /// <summary>Draw from so many most likely tokens, before <see cref="TopP"/>; 0 for all.</summary>
    public int TopK { get; init; }

    /// <summary>The same seed, prompt and model give the same text on one engine.</summary>
    public ulong Seed { get; init; }

    /// <summary>Upper bound on the continuation.</summary>
    public int MaxNewTokens { get; init; } = 64;

    /// <summary>Tokens that end it.</summary>
    public IReadOnlyCollection<int> EndIds { get; init; } = [];

    /// <summary>Texts that end it and are not part of it.</summary>
    public IReadOnlyList<string> StopTexts { get; init; } = [];
}

/// <summary>Chooses one token after the other.</summary>
internal sealed class Sampler : IDisposable
{
    private readonly SamplingOptions _options;
    private readonly Generator _generator;

    public Sampler(SamplingOptions options)
    {
        if (!(options.Temperature >= 0 && double.IsFinite(options.Temperature)))
            throw new ArgumentException($"The temperature is {options.Temperature}, expected a finite number of at least 0.",
                nameof(options));
        if (!(options.TopP is > 0 and <= 1))
            throw new ArgumentException($"Top-p is {options.TopP}, expected more than 0 and at most 1.", nameof(options));
        if (options.TopK < 0) throw new ArgumentException($"Top-k is {options.TopK}, expected at least 0.", nameof(options));
        (_options, _generator) = (options, new Generator(Seed.For(options.Seed, 0, "", "generation"), CPU));
    }

    /// <summary>The next token.</summary>
    /// <param name="logits">One for each token of the vocabulary.</param>
    public int Next(ReadOnlySpan<float> logits)
    {
        for (var id = 0; id < logits.Length; id++)
        {
            if (float.IsFinite(logits[id])) continue;
            throw new BadInputException(FormattableString.Invariant($"the logit of token {id} is {logits[id]}: ")
                + "the model, with its adapter, computes values that are no numbers; use other weights, or an adapter of an earlier round");
        }

        if (_options.Temperature == 0) return FirstHighest(logits);
        var candidates = Candidates(logits, _options);
        using var drawn = rand(1, ScalarType.Float64, CPU, generator: _generator);
        var left = drawn.data<double>()[0] * candidates.Sum(static candidate => candidate.Probability);
        foreach (var (id, probability) in candidates)
        {
            left -= probability;
            if (left < 0) return id;
        }

        return candidates[^1].Id;
    }

    public void Dispose() => _generator.Dispose();

    /// <summary>What is drawn from, the most likely first, with probabilities among all tokens that top-k leaves.</summary>
    internal static IReadOnlyList<(int Id, double Probability)> Candidates(ReadOnlySpan<float> logits, SamplingOptions options)
    {
        var (ids, order) = (Enumerable.Range(0, logits.Length).ToArray(), new float[logits.Length]);
        for (var i = 0; i < order.Length; i++) order[i] = -logits[i];
        Array.Sort(order, ids);
        var kept = options.TopK > 0 ? Math.Min(options.TopK, ids.Length) : ids.Length;
        var weights = order.Take(kept).Select(value => Math.Exp((order[0] - value) / options.Temperature)).ToArray();
        var (total, mass, count) = (weights.Sum(), 0.0, 0);
        while (count < kept && (count == 0 || mass < options.TopP)) mass += weights[count++] / total;
        return [.. Enumerable.Range(0, count).Select(i => (ids[i], weights[i] / total))];
    }

    private static int FirstHighest(ReadOnlySpan<float> logits)
    {
        var best = 0;
        for (var i = 1; i < logits.Length; i++)
            if (logits[i] > logits[best]) best = i;
        return best;
    }
}
