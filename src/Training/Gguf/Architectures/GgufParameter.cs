using FedRLora.Abstractions;
using FedRLora.Training.Models;

namespace FedRLora.Training.Gguf.Architectures;

/// <summary>Where a GGUF file has a parameter of a model, and what differs in it.</summary>
/// <param name="Name">Hugging Face's name.</param>
/// <param name="Shape">Its shape in Hugging Face's layout.</param>
/// <param name="Tensor">The tensor of the file.</param>
internal sealed record GgufParameter(string Name, long[] Shape, GgufTensor Tensor)
{
    /// <summary>For each row in Hugging Face's layout its row in the file; null where all stay.</summary>
    public int[]? Rows { get; init; }

    /// <summary>The file has the matrix the other way round.</summary>
    public bool IsTransposed { get; init; }

    /// <summary>What the file's numbers have too much: the 1 of Gemma's norms.</summary>
    public float Added { get; init; }

    /// <summary>The shape that the file should have.</summary>
    public long[] InFile => IsTransposed ? [.. Shape.Reverse()] : Shape;
}

/// <summary>Finds every parameter of a model among the tensors of a GGUF file.</summary>
internal static class GgufParameters
{
    /// <summary>Where each parameter is, in the order of <see cref="ModelRegistry.ExpectedParameters"/>.</summary>
    /// <exception cref="BadInputException">
    /// A tensor is missing, has another shape, or is used by nothing here; it is named.
    /// </exception>
    public static IReadOnlyList<GgufParameter> Of(ModelConfig config, GgufHeader header)
    {
        var architecture = GgufArchitecture.Of(header.Metadata);
        var path = header.Metadata.Path;
        var unused = new HashSet<string>(header.Tensors.Keys, StringComparer.Ordinal);
        if (config.RopeScaling?.Factors is not null) unused.Remove(GgufConfig.RopeFactorsTensor);
        var parameters = new List<GgufParameter>();
        var rows = new Dictionary<string, int[]?>(StringComparer.Ordinal); // by the end of the module's name: one list for all layers
        foreach (var (name, shape) in ModelRegistry.ExpectedParameters(config))
        {
            var stored = architecture.NameOf(name)
                ?? throw new BadInputException($"{path}: {name} of this model has no tensor in the architecture {architecture.Name}");
            if (!header.Tensors.TryGetValue(stored, out var tensor)) throw new BadInputException($"{path}: tensor {stored} is missing");
            unused.Remove(stored);
            parameters.Add(Parameter(architecture, config, name, shape, tensor, rows) is var parameter && Fits(parameter)
                ? parameter
                : throw new BadInputException($"{path}: tensor {stored} has the shape [{string.Join(", ", tensor.Shape)}], "
                    + $"expected [{string.Join(", ", parameter.InFile)}] by the file's metadata"));
        }

        var rest = header.Tensors.Keys.FirstOrDefault(unused.Contains);
        return rest is null ? parameters : throw new BadInputException($"{path}: tensor {BadInputException.Shown(rest)} "
            + (rest.Contains("_exps", StringComparison.Ordinal) || rest.Contains("ffn_gate_inp", StringComparison.Ordinal)
                ? "belongs to a mixture of experts, which is not implemented"
                : $"is used by nothing in a {architecture.Name} model as it is implemented here"));
    }

    /// <summary>What differs in the file's form of a parameter.</summary>
    public static GgufParameter Parameter(GgufArchitecture architecture, ModelConfig config, string name, long[] shape,
        GgufTensor tensor, Dictionary<string, int[]?> rows)
    {
        var module = name[..name.LastIndexOf('.')];
        var kind = module[(module.LastIndexOf('.') + 1)..];
        if (!rows.TryGetValue(kind, out var order)) rows[kind] = order = GgufRows.Of(architecture, config, module);
        return new(name, shape, tensor)
        {
            Rows = order,
            IsTransposed = architecture.TransposedLinears && shape.Length == 2
                && module.StartsWith(architecture.Layers, StringComparison.Ordinal),
            Added = architecture.NormsPlusOne && shape.Length == 1 && kind.EndsWith("norm", StringComparison.Ordinal) ? 1 : 0,
        };
    }

    // The file may list leading dimensions of 1, which say nothing.
    private static bool Fits(GgufParameter parameter)
    {
        var (shape, expected) = (parameter.Tensor.Shape, parameter.InFile);
        var extra = shape.Length - expected.Length;
        return extra >= 0 && shape.AsSpan(extra).SequenceEqual(expected) && shape.AsSpan(0, extra).IndexOfAnyExcept(1) < 0;
    }
}
