using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Adapters;
using FedRLora.Training.Adapters.Peft;
using FedRLora.Training.Gguf;
using FedRLora.Training.Gguf.Architectures;
using FedRLora.Training.Models;
using FedRLora.Training.Models.Weights;
using static TorchSharp.torch;

namespace FedRLora.Training.Conversion;

/// <summary>
/// Writes an adapter folder in PEFT's layout as a GGUF adapter, which llama.cpp adds to its base: for each weight <c>lora_a</c> and
/// <c>lora_b</c>, whose product it scales by one alpha over the rank of the two.
/// </summary>
/// <remarks>Layout: <c>src/llama-adapter.cpp</c> and <c>convert_lora_to_gguf.py</c> of github.com/ggml-org/llama.cpp.</remarks>
public static class AdapterToGguf
{
    /// <summary>Writes the file: it is there whole, or not at all.</summary>
    /// <param name="folder">An adapter folder in PEFT's layout.</param>
    /// <param name="model">Its base, a folder or a GGUF file.</param>
    /// <param name="target">A file that does not exist yet.</param>
    /// <param name="type">Element type of both factors.</param>
    /// <param name="allowOtherBase">An adapter that was trained on another base is written all the same, and that is said.</param>
    /// <param name="cancellationToken">Looked at before each tensor.</param>
    /// <exception cref="BadInputException">
    /// Adapter and model do not go together, or llama.cpp cannot say something in the adapter; it is named.
    /// </exception>
    public static ConversionReport Write(
        string folder, string model, string target, WeightType type, bool allowOtherBase = false,
        CancellationToken cancellationToken = default)
    {
        GgufWriter.RequireNew(target);
        if (type == WeightType.Q8)
            throw new BadInputException(
                "an adapter cannot be q8_0, whose blocks are of 32 numbers where rows are as short as its rank; write f32, f16 or bf16");
        var source = ModelSource.At(model);
        var config = ModelRegistry.Check(source);
        var adapter = PeftAdapter.Read(folder);
        var called = Path.Combine(folder, PeftConfig.FileName);
        if (adapter.Spec.Decomposed)
            throw new BadInputException(
                $"{called}: use_dora is true, and a GGUF adapter has no magnitudes; merge it into its model instead");
        var layout = adapter.On(FrozenBase.LayersOf(model));
        CheckBase(adapter, config, source);
        using var loaded = new LoadedModel(model, WeightStorage.AsStored);
        var notes = AdapterBase.Check(adapter, model, new() { AllowOtherBase = allowOtherBase }, () => loaded.Model, hasStorage: false);
        var architecture = GgufArchitecture.For(config.ModelType, source.Called(ModelConfig.FileName));
        var alpha = AlphaOf(layout, called);
        var writer = new GgufWriter()
            .Set("general.architecture", architecture.Name)
            .Set("general.type", "adapter")
            .Set("general.name", Path.GetFileName(Path.TrimEndingDirectorySeparator(Path.GetFullPath(folder))))
            .Set("adapter.type", "lora")
            .Set("adapter.lora.alpha", alpha);
        foreach (var layer in layout.Targets)
        {
            // It adds what is for the one to the other too, or ends where that does not fit.
            if (layer.Layer.Kind is LayerKind.Embedding or LayerKind.LmHead && config.TieWordEmbeddings)
            {
                throw new BadInputException($"{called}: {layer.Module} is adapted, and embedding and LM head of this model are one tensor, "
                    + "which llama.cpp does not tell apart in an adapter; merge it into its model instead");
            }

            Add(writer, architecture, config, layer, adapter.Tensors, alpha, type.InGguf());
        }

        writer.Write(target, cancellationToken);
        return new([(type.ToString(), writer.Tensors.Count)], [.. adapter.Notes, .. notes]);
    }

    private static void Add(GgufWriter writer, GgufArchitecture architecture, ModelConfig config, AdapterTarget target,
        AdapterState tensors, double alpha, GgmlType type)
    {
        var name = architecture.ModuleNameOf(target.Module)! + ".weight";
        var (a, b) = (tensors[AdapterTensor.NameOf(target.Module, Roles.A)], tensors[AdapterTensor.NameOf(target.Module, Roles.B)]);
        var (rank, inWidth, outWidth) = (a.Shape[0], a.Shape[1], b.Shape[1]);
        var share = (float)(target.Scaling * rank / alpha); // a power of two
        var rows = GgufRows.Of(architecture, config, target.Module) is { } order ? GgufRows.Reverse(order) : null;
        // Of an embedding the file has a row of A for each token.
        var isEmbedding = target.Layer.Kind == LayerKind.Embedding;
        long[] shapeOfA = isEmbedding ? [inWidth, rank] : [rank, inWidth];
        writer.Add(new(name + ".lora_a", type, shapeOfA, (first, values) =>
        {
            for (var i = 0; i < values.Length; i++)
            {
                var (row, column) = (first + i / shapeOfA[1], i % shapeOfA[1]);
                values[i] = isEmbedding ? a.Data[column * inWidth + row] : a.Data[row * inWidth + column];
            }
        }));
        writer.Add(new(name + ".lora_b", type, [outWidth, rank], (first, values) =>
        {
            for (var i = 0; i < values.Length; i++)
            {
                var row = first + i / rank;
                values[i] = share * b.Data[(rows?[row] ?? row) * rank + i % rank];
            }
        }));
    }

    // llama.cpp scales by alpha / rank. Where layers are scaled otherwise their B is multiplied, which powers of two alone do exactly.
    private static double AlphaOf(AdapterLayout layout, string called)
    {
        var wanted = layout.Targets.Select(static target => target.Scaling * target.Rank).ToList();
        foreach (var alpha in wanted.Distinct())
        {
            if (wanted.TrueForAll(other => other > 0 && IsPowerOfTwo(other / alpha))) return alpha;
        }

        var odd = layout.Targets.First(target => target.Scaling * target.Rank != wanted[0]);
        throw new BadInputException(FormattableString.Invariant(
            $"{called}: {layout.Targets[0].Module} is scaled as by alpha {wanted[0]} and {odd.Module} as by {odd.Scaling * odd.Rank}; ")
            + "a GGUF adapter has one alpha for all, and the ratio of the two is no power of two, so that none says both exactly");
    }

    private static bool IsPowerOfTwo(double value) =>
        double.IsNormal(value) && (BitConverter.DoubleToUInt64Bits(value) & 0x000F_FFFF_FFFF_FFFF) == 0 && Math.Abs(Math.Log2(value)) <= 24;

    // As for a model in memory, without one.
    private static void CheckBase(PeftAdapter adapter, ModelConfig config, ModelSource source)
    {
        adapter.CheckBiases(config);
        if (adapter.BaseTensors.Count == 0) return;
        using var weights = source.OpenWeights();
        var shapes = ModelRegistry.ExpectedParameters(config).ToDictionary(static parameter => parameter.Name, StringComparer.Ordinal);
        foreach (var name in adapter.BaseTensors.Keys)
        {
            using var scope = NewDisposeScope();
            var parameter = PeftNames.BaseParameter(name)!;
            adapter.CheckBase(name, shapes.TryGetValue(parameter, out var own)
                ? TensorData.Values(weights.Read(own.Name, own.Shape, CPU, ScalarType.Float32))
                : null);
        }
    }
}
