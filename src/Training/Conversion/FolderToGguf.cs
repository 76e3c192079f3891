using System.Runtime.InteropServices;
using FedRLora.Abstractions;
using FedRLora.Training.Gguf;
using FedRLora.Training.Gguf.Architectures;
using FedRLora.Training.Inputs;
using FedRLora.Training.Models;
using FedRLora.Training.Models.Weights;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training.Conversion;

/// <summary>Writes a Hugging Face folder as a GGUF file; one tensor at a time is in memory.</summary>
public static class FolderToGguf
{
    private const int QuantizationVersion = 2;

    // llama.cpp adds it to what may be float32 alone.
    private const string Positions = "position_embd.weight";

    /// <summary>Writes the file: it is there whole, or not at all.</summary>
    /// <param name="folder">A Hugging Face folder.</param>
    /// <param name="target">A file that does not exist yet.</param>
    /// <param name="type">How matrices are stored; vectors are float32, as llama.cpp wants them.</param>
    /// <param name="cancellationToken">Looked at before each tensor.</param>
    /// <exception cref="BadInputException">
    /// The folder is not usable, llama.cpp cannot say something in it, or a number does not fit the type; it is named.
    /// </exception>
    public static ConversionReport Write(string folder, string target, WeightType type, CancellationToken cancellationToken = default)
    {
        GgufWriter.RequireNew(target);
        GivenPath.RequireModel(folder);
        var config = ModelRegistry.Check(folder);
        using var weights = ModelWeights.Open(folder);
        ModelRegistry.RefuseOtherHead(weights, config);
        var writer = new GgufWriter();
        var architecture = GgufKeys.Set(writer, config, Path.Combine(folder, "config.json"));
        writer.Set("general.name", Path.GetFileName(Path.TrimEndingDirectorySeparator(Path.GetFullPath(folder))))
            .Set("general.file_type", type.FileType())
            .Set("general.quantization_version", QuantizationVersion);
        var notes = new List<string>();
        TokenizerToGguf.Set(writer, ModelSource.At(folder), config, notes);
        AddTensors(writer, architecture, config, weights, type.InGguf(), notes);
        writer.Write(target, cancellationToken);
        return new([.. writer.Tensors.CountBy(static tensor => tensor.Type).OrderByDescending(static entry => entry.Value)
            .Select(static entry => (entry.Key.ToString(), entry.Value))], notes);
    }

    private static void AddTensors(GgufWriter writer, GgufArchitecture architecture, ModelConfig config, ModelWeights weights,
        GgmlType wanted, List<string> notes)
    {
        if (GgufKeys.RopeFactors(config) is { } factors)
        {
            writer.Add(new(GgufConfig.RopeFactorsTensor, GgmlType.F32, [factors.Length],
                (first, target) => factors.AsSpan((int)first * factors.Length, target.Length).CopyTo(target)));
        }

        var stored = ModelRegistry.StoredNames(weights, config);
        var rows = new Dictionary<string, int[]?>(StringComparer.Ordinal);
        foreach (var (name, shape) in ModelRegistry.ExpectedParameters(config))
        {
            var tensor = new GgufTensor(architecture.NameOf(name)!, wanted, shape, 0, 0);
            var parameter = GgufParameters.Parameter(architecture, config, name, shape, tensor, rows);
            var type = TypeOf(parameter, wanted);
            if (type is not (GgmlType.F32) && type != wanted)
            {
                notes.Add($"{tensor.Name}: rows of {parameter.InFile[^1]} are no whole blocks of {wanted}, "
                    + $"{wanted.BlockValues()} each; written as {type}");
            }

            writer.Add(new(tensor.Name, type, parameter.InFile, new FolderRows(weights, stored[name], parameter).Copy));
        }
    }

    private static GgmlType TypeOf(GgufParameter parameter, GgmlType wanted) =>
        parameter.Shape.Length == 1 || parameter.Tensor.Name == Positions ? GgmlType.F32
        : parameter.InFile[^1] % wanted.BlockValues() != 0 ? GgmlType.F16
        : wanted;

    // The tensor is read with its first row and let go with its last.
    private sealed class FolderRows(ModelWeights weights, string stored, GgufParameter parameter)
    {
        private Tensor? _values;

        public void Copy(long first, Span<float> target)
        {
            _values ??= Read();
            var columns = parameter.InFile[^1];
            using (var part = _values.narrow(0, first, target.Length / columns)) MemoryMarshal.Cast<byte, float>(part.bytes).CopyTo(target);
            if ((first * columns) + target.Length < _values.numel()) return;
            _values.Dispose();
            _values = null;
        }

        private Tensor Read()
        {
            using var scope = NewDisposeScope();
            var values = weights.Read(stored, parameter.Shape, CPU, ScalarType.Float32);
            if (parameter.Rows is { } rows) values = values.index_select(0, tensor(GgufRows.Reverse(rows), ScalarType.Int64));
            if (parameter.IsTransposed) values = values.t().contiguous();
            if (parameter.Added != 0) values = values.Plus(Living.Of(parameter.Added));
            return values.reshape(-1, parameter.InFile[^1]).MoveToOuterDisposeScope().DetachFromDisposeScope();
        }
    }
}
