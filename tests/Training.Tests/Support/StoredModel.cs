using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Models;
using FedRLora.Training.Quantization;
using FedRLora.Training.Tests.Models;
using static TorchSharp.torch;

namespace FedRLora.Training.Tests;

/// <summary>Models whose matrices lie in memory in another form than as floats, and the same models as floats.</summary>
internal static unsafe class StoredModel
{
    /// <summary>A tiny model of drawn weights, through a folder.</summary>
    public static CausalLanguageModel Tiny(WeightStorage storage, ModelConfig? config = null)
    {
        using var folder = new TemporaryFolder(); // a file that is mapped may go
        config ??= TinyLlama.Config;
        File.WriteAllText(folder.File("config.json"), config.ToJson());
        using (var stream = File.Create(folder.File("model.safetensors")))
            SafetensorsCodec.Write(TinyLlama.Arrays(config), new Dictionary<string, string> { ["format"] = "pt" }, stream);
        return ModelRegistry.Load(folder.Root, CPU, storage);
    }

    /// <summary>The numbers that a model computes with, every matrix as a tensor of floats.</summary>
    public static CausalLanguageModel AsFloats(CausalLanguageModel model)
    {
        var matrices = model.AdaptableLayers.ToDictionary(static layer => layer.Module + ".weight", StringComparer.Ordinal);
        return ModelRegistry.Create(model.Config, ModelRegistry.ExpectedParameters(model.Config).ToDictionary(
            static parameter => parameter.Name,
            parameter =>
            {
                using var scope = NewDisposeScope();
                var values = matrices.TryGetValue(parameter.Name, out var layer) ? model.WeightOf(layer) : model.Parameters[parameter.Name];
                return values.to(ScalarType.Float32).contiguous().clone().DetachFromDisposeScope();
            }, StringComparer.Ordinal));
    }

    /// <summary>What a weight must be in a form: quantized, an output a row, and widened again.</summary>
    /// <param name="weight">float32, as the kind says.</param>
    /// <param name="kind">What it is the weight of.</param>
    /// <param name="storage">The form.</param>
    public static Tensor Rounded(Tensor weight, LayerKind kind, WeightStorage storage)
    {
        switch (storage)
        {
            case WeightStorage.Float16: return weight.to(ScalarType.Float16).to(ScalarType.Float32);
            case WeightStorage.Bfloat16: return weight.to(ScalarType.BFloat16).to(ScalarType.Float32);
            case WeightStorage.Int8 or WeightStorage.Nf4 when kind is LayerKind.Linear or LayerKind.Conv1D: break;
            default: return weight;
        }

        var rows = kind == LayerKind.Conv1D ? weight.t().contiguous() : weight.contiguous();
        var values = rows.data<float>().ToArray();
        var widened = storage == WeightStorage.Int8 ? Int8(values, rows.shape[1]) : InNf4(values);
        var rounded = tensor(widened, rows.shape);
        return kind == LayerKind.Conv1D ? rounded.t() : rounded;
    }

    private static float[] Int8(float[] values, long columns)
    {
        var rows = values.LongLength / columns;
        var (codes, absmax, widened) = (new sbyte[values.Length], new float[rows], new float[values.Length]);
        fixed (float* from = values, most = absmax, to = widened)
        fixed (sbyte* at = codes)
        {
            Assert.Equal(-1, Int8Rows.Quantize(from, rows, columns, at, most));
            Int8Rows.Widen(at, most, rows, columns, to);
        }

        return widened;
    }

    private static float[] InNf4(float[] values)
    {
        var blocks = Nf4.Blocks(values.Length);
        var (packed, codes, absmax) = (new byte[Nf4.PackedBytes(values.Length)], new byte[blocks], new float[blocks]);
        var (absmax2, widened) = (new float[(blocks + Nf4.SecondBlock - 1) / Nf4.SecondBlock], new float[values.Length]);
        fixed (float* from = values, most = absmax, most2 = absmax2, to = widened)
        fixed (byte* at = packed, coded = codes)
        {
            Assert.Equal(-1, Nf4.Quantize(from, values.Length, at, most));
            var offset = Nf4.OffsetOf(most, blocks);
            Nf4.Compress(most, blocks, offset, coded, most2);
            Nf4.Widen(new(at, coded, most2, offset), 0, values.Length, to);
        }

        return widened;
    }
}
