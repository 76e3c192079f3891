using FedRLora.Abstractions;
using static TorchSharp.torch;

namespace FedRLora.Training.Adapters.Combination;

/// <summary>How several tensors of one shape become one.</summary>
/// <param name="tensors">One of each adapter.</param>
/// <param name="weights">One for each.</param>
/// <param name="density">Share of elements that a pruning rule keeps.</param>
/// <param name="seed">Seeds what is drawn for each tensor.</param>
internal delegate Tensor CombinationRule(
    IReadOnlyList<Tensor> tensors, IReadOnlyList<double> weights, double density, Func<int, ulong> seed);

/// <summary>
/// The rules of PEFT's <c>add_weighted_adapter</c>: task arithmetic (arXiv 2212.04089), TIES (arXiv 2306.01708), DARE (arXiv
/// 2311.03099), magnitude pruning.
/// </summary>
internal static class CombinationRules
{
    /// <summary>By PEFT's names. <c>cat</c> and the forms that end in <c>svd</c> are built around them.</summary>
    public static IReadOnlyDictionary<string, CombinationRule> ByName { get; } = new Dictionary<string, CombinationRule>(
        StringComparer.Ordinal)
    {
        ["linear"] = static (tensors, weights, _, _) => Sum(tensors, weights),
        ["magnitude_prune"] = static (tensors, weights, density, _) => Sum(
            [.. tensors.Select(tensor => Largest(tensor, density))], weights),
        ["ties"] = static (tensors, weights, density, _) => Elected([.. tensors.Select(tensor => Largest(tensor, density))], weights),
        ["dare_linear"] = static (tensors, weights, density, seed) => Sum(
            [.. tensors.Select((tensor, i) => Drawn(tensor, density, seed(i)))], weights),
        ["dare_ties"] = static (tensors, weights, density, seed) => Elected(
            [.. tensors.Select((tensor, i) => Drawn(tensor, density, seed(i)))], weights),
    };

    /// <summary>Whether the rule keeps a share of the elements only.</summary>
    public static bool TakesDensity(string name) => name is not ("linear" or "cat" or "svd");

    private static Tensor Sum(IReadOnlyList<Tensor> tensors, IReadOnlyList<double> weights) =>
        tensors.Select((tensor, i) => tensor * Living.Of((float)weights[i])).Aggregate(static (sum, tensor) => sum.Plus(tensor));

    // The elements of largest magnitude.
    private static Tensor Largest(Tensor tensor, double density)
    {
        var count = (int)(density * tensor.NumberOfElements);
        var kept = tensor.abs().reshape(-1).topk(count).indexes;
        var mask = zeros([tensor.NumberOfElements], ScalarType.Float32, tensor.device);
        return tensor * mask.index_fill_(0, kept, Living.Of(1f)).reshape(tensor.shape);
    }

    // Each element with the given probability, its expectation kept.
    private static Tensor Drawn(Tensor tensor, double density, ulong seed)
    {
        using var generator = new Generator(seed, CPU);
        return tensor * empty(tensor.shape, ScalarType.Float32, CPU).bernoulli_(density, generator).to(tensor.device)
            / Living.Of((float)density);
    }

    // Of each element the tensors whose sign is that of the sum, averaged.
    private static Tensor Elected(IReadOnlyList<Tensor> tensors, IReadOnlyList<double> weights)
    {
        var all = stack([.. tensors]);
        var positive = all.sum([0]).ge(Living.Of(0)).to(ScalarType.Float32) * Living.Of(2) - Living.Of(1);
        var agrees = all.sign().eq(positive).to(ScalarType.Float32);
        var weighed = stack([.. tensors.Select((tensor, i) => tensor * Living.Of((float)weights[i]))]);
        return (weighed * agrees).sum([0]) / agrees.sum([0]).clamp_min(Living.Of(1));
    }
}
