using System.Globalization;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Adapters.Peft;
using FedRLora.Training.Models;
using static TorchSharp.torch;

namespace FedRLora.Training.Adapters.Combination;

/// <summary>How adapters are combined.</summary>
public sealed record CombinationOptions
{
    /// <summary>One of <see cref="AdapterCombination.Methods"/>.</summary>
    public string Method { get; init; } = "linear";

    /// <summary>Share of elements that a pruning rule keeps, in (0, 1].</summary>
    public double Density { get; init; } = 0.5;

    /// <summary>Rank of the result of a method that ends in svd; null for the largest rank of the adapters.</summary>
    public int? Rank { get; init; }

    /// <summary>Seeds the masks of DARE.</summary>
    public ulong Seed { get; init; }
}

/// <summary>
/// Several LoRA adapters as one, as PEFT's <c>add_weighted_adapter</c> does it; the result has scaling 1. <c>linear</c> and the pruning
/// rules work on the factors, each weighed by the square root of |weight| times scaling, A with the weight's sign too; <c>cat</c> lays
/// the factors side by side, so its product is the weighted sum exactly; a name that ends in <c>svd</c> works on the products, each with
/// its scaling, and is cut to a rank. PEFT counted the scaling twice there until 0.20; here it counts once, as in PEFT since 0.21.
/// </summary>
public static class AdapterCombination
{
    /// <summary>Every method, by PEFT's names.</summary>
    public static IReadOnlyList<string> Methods { get; } =
        [.. CombinationRules.ByName.Keys.Concat(["cat", "svd"]).Concat(CombinationRules.ByName.Keys.Where(static name => name != "linear")
            .Select(static name => name + "_svd")).Order(StringComparer.Ordinal)];

    /// <summary>Whether a method keeps a share of the elements only.</summary>
    public static bool TakesDensity(string method) => CombinationRules.TakesDensity(method);

    /// <summary>Reads adapter folders and combines them.</summary>
    /// <param name="adapters">Folders in PEFT's layout with their weights.</param>
    /// <param name="options">The method.</param>
    /// <returns>The adapter, and what is to be known of those that it is made of, a line each.</returns>
    /// <exception cref="BadInputException">A folder is not usable, or the adapters do not go together under the method.</exception>
    public static (ExportedAdapter Adapter, IReadOnlyList<string> Notes) Combine(
        IReadOnlyList<(string Folder, double Weight)> adapters, CombinationOptions options)
    {
        List<(PeftAdapter Adapter, double Weight)> read =
            [.. adapters.Select(static entry => (PeftAdapter.Read(entry.Folder), entry.Weight))];
        return (Combine(read, options), [.. read.SelectMany(static entry => entry.Adapter.Notes).Distinct(StringComparer.Ordinal)]);
    }

    internal static ExportedAdapter Combine(IReadOnlyList<(PeftAdapter Adapter, double Weight)> adapters, CombinationOptions options)
    {
        Check(adapters, options);
        var parts = adapters.SelectMany(
            entry => entry.Adapter.Targets.Select(target => (target.Layer.Module, Part: new Part(entry.Adapter, target, entry.Weight))))
            .GroupBy(static entry => entry.Module, static entry => entry.Part, StringComparer.Ordinal)
            .OrderBy(static group => group.Key, StringComparer.Ordinal).ToList();
        var combined = parts.Select(group => Combine([.. group], options)).ToList();
        var rank = combined.GroupBy(static entry => entry.Rank).OrderByDescending(static group => group.Count())
            .ThenByDescending(static group => group.Key).First().Key;
        var others = combined.Where(entry => entry.Rank != rank).ToList();
        var spec = new AdapterSpec
        {
            Rank = rank, Alpha = rank, TargetModules = [.. combined.Select(static entry => entry.Layer.Module)],
            RankPattern = [.. others.Select(static entry => KeyValuePair.Create(entry.Layer.Module, entry.Rank))],
            AlphaPattern = [.. others.Select(static entry => KeyValuePair.Create(entry.Layer.Module, (double)entry.Rank))],
        };
        var layout = AdapterLayout.Unbounded(spec, [.. combined.Select(static entry => entry.Layer)]);
        var tensors = combined.SelectMany(static entry => entry.Tensors)
            .Concat(BaseTensors([.. adapters.Select(static entry => entry.Adapter)]));
        return new(PeftConfig.Write(layout, adapters[0].Adapter.BaseModel ?? "", given: null), new AdapterState(tensors))
        {
            Metadata = BaseOf([.. adapters.Select(static entry => entry.Adapter)])?.Metadata ?? new Dictionary<string, string>(),
        };
    }

    // One that does not say where it was trained goes with any, and the result then says nothing either.
    private static AdapterBase? BaseOf(IReadOnlyList<PeftAdapter> adapters)
    {
        var known = adapters.Where(static adapter => adapter.Base is not null).ToList();
        if (known.FirstOrDefault(adapter => adapter.Base!.Values != known[0].Base!.Values) is { } other)
        {
            throw new BadInputException($"{other.Folder}: was trained on another base than {known[0].Folder} "
                + $"(stored as {other.Base!.Storage} and {known[0].Base!.Storage}); combine adapters of one base");
        }

        return known.Count == adapters.Count ? known[0].Base : null;
    }

    // Whoever reads the result compares them with the model, as of a single adapter; no model is at hand here.
    private static IEnumerable<KeyValuePair<string, NamedArray>> BaseTensors(IReadOnlyList<PeftAdapter> adapters)
    {
        var found = new Dictionary<string, (PeftAdapter Of, NamedArray Values)>(StringComparer.Ordinal);
        var all = adapters.SelectMany(static adapter => adapter.BaseTensors.Select(entry => (adapter, entry.Key, entry.Value)));
        foreach (var (adapter, name, values) in all)
        {
            if (found.TryAdd(name, (adapter, values)) || found[name].Values.Data.AsSpan().SequenceEqual(values.Data)) continue;
            throw new BadInputException(
                $"{adapter.Folder}: tensor {name} differs from that of {found[name].Of.Folder}; they are not of one model");
        }

        return found.Select(static entry => KeyValuePair.Create(entry.Key, entry.Value.Values));
    }

    private static void Check(IReadOnlyList<(PeftAdapter Adapter, double Weight)> adapters, CombinationOptions options)
    {
        if (adapters.Count == 0) throw new BadInputException("combine: no adapter; give at least one folder");
        if (!Methods.Contains(options.Method))
            throw new BadInputException($"combine: the method {options.Method} is not known; give one of {string.Join(", ", Methods)}");
        if (!(options.Density is > 0 and <= 1))
            throw new BadInputException(
                string.Create(CultureInfo.InvariantCulture, $"combine: density is {options.Density}; give a number above 0 and at most 1"));
        var onProducts = options.Method.EndsWith("svd", StringComparison.Ordinal);
        if (options.Rank is { } rank && (!onProducts || rank < 1))
            throw new BadInputException($"combine: a rank of {rank} is given, "
                + $"{(onProducts ? "give at least 1" : $"the ranks of {options.Method} follow from the adapters; leave it out")}");
        foreach (var (adapter, weight) in adapters)
        {
            if (adapter.Spec.Decomposed)
                throw new BadInputException(
                    $"{adapter.Folder}: a decomposed adapter (use_dora) does not combine; merge it into the model instead");
            if (!double.IsFinite(weight))
                throw new BadInputException($"{adapter.Folder}: the weight is not a finite number; give one such as 0.5");
            adapter.RefuseBiases();
        }
    }

    private static (LinearShape Layer, int Rank, IReadOnlyList<KeyValuePair<string, NamedArray>> Tensors) Combine(
        IReadOnlyList<Part> parts, CombinationOptions options)
    {
        using var scope = NewDisposeScope();
        using var inference = no_grad();
        var layer = parts[0].Target.Layer;
        if (parts.FirstOrDefault(part => part.Target.Layer != layer) is { } other)
            throw new BadInputException($"{other.Adapter.Folder}: "
                + $"{layer.Module} is {other.Target.Layer.InWidth} -> {other.Target.Layer.OutWidth}, in {parts[0].Adapter.Folder} it is "
                + $"{layer.InWidth} -> {layer.OutWidth}; they are not of one model");
        var (a, b) = options.Method switch
        {
            "cat" => (cat([.. parts.Select(static part => part.A * Living.Of((float)(part.Weight * part.Target.Scaling)))], 0),
                cat([.. parts.Select(static part => part.B)], 1)),
            _ when options.Method.EndsWith("svd", StringComparison.Ordinal) => Product(parts, options),
            _ => Factors(parts, options),
        };
        return (layer, (int)a.shape[0], [new(PeftNames.Of(layer, Roles.A), new(a.shape, TensorData.Values(a))),
            new(PeftNames.Of(layer, Roles.B), new(b.shape, TensorData.Values(b)))]);
    }

    private static (Tensor A, Tensor B) Factors(IReadOnlyList<Part> parts, CombinationOptions options)
    {
        if (parts.FirstOrDefault(part => part.Target.Rank != parts[0].Target.Rank) is { } other)
            throw new BadInputException($"{other.Adapter.Folder}: {other.Target.Module} has rank {other.Target.Rank}, "
                + $"in {parts[0].Adapter.Folder} it is {parts[0].Target.Rank}; {options.Method} needs equal ranks, cat and svd do not");
        var weights = parts.Select(static part => Math.Sqrt(Math.Abs(part.Weight) * part.Target.Scaling)).ToList();

        // A sign on one side, so that the product has it once.
        var signed = weights.Select((weight, i) => Math.CopySign(weight, parts[i].Weight)).ToList();
        Tensor Of(string role, IReadOnlyList<double> weights, Func<Part, Tensor> tensor) =>
            CombinationRules.ByName[options.Method](
                [.. parts.Select(tensor)], weights, options.Density, i => SeedOf(options, parts[i], i, role));
        return (Of(Roles.A, signed, static part => part.A), Of(Roles.B, weights, static part => part.B));
    }

    private static (Tensor A, Tensor B) Product(IReadOnlyList<Part> parts, CombinationOptions options)
    {
        var rule = options.Method == "svd" ? "linear" : options.Method[..^"_svd".Length];
        var products = parts.Select(static part => part.B.mm(part.A) * Living.Of((float)part.Target.Scaling)).ToList();
        double[] weights = [.. parts.Select(static part => part.Weight)];
        var mixed = CombinationRules.ByName[rule](products, weights, options.Density, i => SeedOf(options, parts[i], i, "product"));
        var layer = parts[0].Target.Layer;
        var rank = options.Rank ?? parts.Max(static part => part.Target.Rank);
        if (rank > Math.Min(layer.InWidth, layer.OutWidth))
            throw new BadInputException($"combine: rank {rank} exceeds {Math.Min(layer.InWidth, layer.OutWidth)}, "
                + $"the smaller side of {layer.Module} ({layer.InWidth} -> {layer.OutWidth})");
        var (u, s, v) = linalg.svd(mixed.to(ScalarType.Float64), fullMatrices: false);
        return (v.narrow(0, 0, rank).to(ScalarType.Float32), (u.narrow(1, 0, rank) * s.narrow(0, 0, rank)).to(ScalarType.Float32));
    }

    private static ulong SeedOf(CombinationOptions options, Part part, int index, string what) =>
        Abstractions.Seed.For(options.Seed, 0, "", $"dare/{part.Target.Module}/{index}/{what}");

    private sealed record Part(PeftAdapter Adapter, AdapterTarget Target, double Weight)
    {
        public Tensor A => TensorData.OnDevice(Adapter.Tensors[AdapterTensor.NameOf(Target.Module, Roles.A)], CPU);

        public Tensor B => TensorData.OnDevice(Adapter.Tensors[AdapterTensor.NameOf(Target.Module, Roles.B)], CPU).squeeze(0);
    }
}
