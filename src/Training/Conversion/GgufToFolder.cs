using System.Runtime.InteropServices;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Gguf;
using FedRLora.Training.Gguf.Architectures;
using FedRLora.Training.Models;
using FedRLora.Training.Models.Weights;
using FedRLora.Training.Quantization;

namespace FedRLora.Training.Conversion;

/// <summary>Writes a GGUF file as a Hugging Face folder; some rows of one tensor at a time are in memory.</summary>
public static unsafe class GgufToFolder
{
    private const int ChunkValues = 1 << 20;

    /// <summary>Writes the folder: it is there whole, or not at all.</summary>
    /// <param name="path">A GGUF file, or a part of one.</param>
    /// <param name="target">A folder that does not exist yet.</param>
    /// <param name="type">Element type of all weights.</param>
    /// <param name="cancellationToken">Looked at before each tensor.</param>
    /// <exception cref="BadInputException">The file is not usable, or a number does not fit the type; it is named.</exception>
    public static ConversionReport Write(string path, string target, WeightType type, CancellationToken cancellationToken = default)
    {
        if (Directory.Exists(target) || File.Exists(target))
            throw new BadInputException($"{target}: exists already; give the name of a new folder");
        if (target.EndsWith(".gguf", StringComparison.OrdinalIgnoreCase))
            throw new BadInputException(
                $"{target}: would be a folder, since {path} is a GGUF file; convert it to a folder, and that to a file");
        if (type == WeightType.Q8)
            throw new BadInputException("a Hugging Face folder has no q8_0; give f32, f16 or bf16");
        using var file = GgufFile.Open(path);
        var config = GgufConfig.Of(file.Header, tensor => GgufValues.Of(file, tensor));
        var parameters = GgufParameters.Of(config, file.Header);
        var partial = $"{Path.TrimEndingDirectorySeparator(Path.GetFullPath(target))}.{Path.GetRandomFileName()}"; // a name that nobody has
        try
        {
            Directory.CreateDirectory(partial);
            new GgufSource(path).WriteDocuments(partial);
            WriteWeights(Path.Combine(partial, "model.safetensors"), file, parameters, type.InGguf(), cancellationToken);
            Directory.Move(partial, target);
            return new([(type.ToString(), parameters.Count)], [])
            {
                Before =
                [
                    .. file.Tensors.Values.CountBy(static tensor => tensor.Type).OrderByDescending(static entry => entry.Value)
                        .ThenBy(static entry => entry.Key).Select(static entry => (entry.Key.ToString(), entry.Value)),
                ],
            };
        }
        catch (Exception exception)
        {
            if (Directory.Exists(partial)) Directory.Delete(partial, recursive: true);
            if (exception is IOException or UnauthorizedAccessException)
                throw new BadInputException($"{target}: cannot be written: {exception.Message}", exception);
            throw;
        }
    }

    private static void WriteWeights(string target, GgufFile file, IReadOnlyList<GgufParameter> parameters, GgmlType type,
        CancellationToken cancellationToken)
    {
        var dtype = Enum.Parse<SafetensorsDtype>(type.ToString());
        var arrays = parameters.Select(parameter => KeyValuePair.Create(parameter.Name,
            SafetensorsArray.Streamed(dtype, parameter.Shape, stream => WriteRows(file, parameter, type, stream, cancellationToken))));
        using var stream = File.Create(target, bufferSize: 1 << 16);
        SafetensorsWriter.Write(arrays, new Dictionary<string, string> { ["format"] = "pt" }, stream);
    }

    private static void WriteRows(GgufFile file, GgufParameter parameter, GgmlType type, Stream stream, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        var columns = parameter.Shape.Length == 1 ? 1 : parameter.Shape[1];
        var rows = parameter.Shape[0];
        var atOnce = Math.Clamp(ChunkValues / columns, 1, rows);
        var values = new float[atOnce * columns];
        var bytes = new byte[type.RowBytes(values.LongLength)];
        for (var row = 0L; row < rows; row += atOnce)
        {
            var count = (int)(Math.Min(atOnce, rows - row) * columns);
            GgufValues.Rows(file, parameter, row, values.AsSpan(0, count));
            fixed (float* from = values)
            fixed (byte* to = bytes)
            {
                if (GgmlQuantizer.Write(type, from, count, to) is >= 0 and var wrong)
                    throw DoesNotFit(file, parameter, row * columns + wrong, columns, values[wrong], type);
            }

            stream.Write(bytes, 0, checked((int)type.RowBytes(count)));
        }
    }

    private static BadInputException DoesNotFit(
        GgufFile file, GgufParameter parameter, long at, long columns, float value, GgmlType type)
    {
        var place = parameter.Shape.Length == 1 ? $"{at}" : $"{at / columns}, {at % columns}";
        var what = FormattableString.Invariant($"{file.Path}: tensor {parameter.Tensor.Name} has {value} at [{place}] of {parameter.Name}");
        return new(float.IsFinite(value)
            ? $"{what}, which {type} cannot hold; {GgufWriter.WiderThan(type)}"
            : $"{what}, which is not finite; take the file from where it came again");
    }
}
