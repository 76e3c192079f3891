using System.Runtime.InteropServices;
using System.Text.Json;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Inputs;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training.Models.Weights;

/// <summary>
/// The weights of a Hugging Face folder: <c>model.safetensors</c>, or <c>model.safetensors.index.json</c> with its shards,
/// memory-mapped. A tensor that is wanted on the CPU as it is stored lies in the map, whose pages all processes share; any other is
/// converted straight from the map, one at a time.
/// </summary>
/// <remarks>A map outlives this object with the last tensor in it; until then its file must not be shortened or written over.</remarks>
internal sealed class ModelWeights : IModelWeights
{
    private const string SingleFile = "model.safetensors";
    internal const string IndexFile = "model.safetensors.index.json";
    internal const string Extension = ".safetensors";
    private const long CopyBytes = 1L << 30;

    private readonly Dictionary<string, SafetensorsFile> _fileOf = new(StringComparer.Ordinal);
    private readonly List<SafetensorsFile> _files = [];
    private readonly Dictionary<(SafetensorsFile File, ScalarType Dtype), Tensor> _maps = [];

    private ModelWeights(string folder) => Path = folder;

    /// <inheritdoc/>
    public string Path { get; }

    /// <summary>The mapped files: one, or the shards.</summary>
    public IReadOnlyList<SafetensorsFile> Files => _files;

    /// <summary>Whether an index says which file holds what.</summary>
    public bool IsSharded { get; private init; }

    /// <summary>Every tensor's name.</summary>
    public IReadOnlyCollection<string> Names => _fileOf.Keys;

    /// <summary>Maps the files and checks headers and index.</summary>
    /// <exception cref="BadInputException">No weights, or a file that is not what it should be.</exception>
    public static ModelWeights Open(string folder)
    {
        var weights = new ModelWeights(folder) { IsSharded = !File.Exists(System.IO.Path.Combine(folder, SingleFile)) };
        try
        {
            if (File.Exists(System.IO.Path.Combine(folder, SingleFile))) weights.AddSingleFile(System.IO.Path.Combine(folder, SingleFile));
            else if (File.Exists(System.IO.Path.Combine(folder, IndexFile))) weights.AddShards(System.IO.Path.Combine(folder, IndexFile));
            else
                throw new BadInputException(
                    $"{folder}: neither {SingleFile} nor {IndexFile}; weights in another format must be saved as safetensors first");
            return weights;
        }
        catch
        {
            weights.Dispose();
            throw;
        }
    }

    /// <summary>Names of the files that <see cref="Open"/> reads, those that are missing too.</summary>
    /// <exception cref="BadInputException">The index cannot be read.</exception>
    internal static IReadOnlyList<string> FilesOf(string folder)
    {
        var index = System.IO.Path.Combine(folder, IndexFile);
        if (File.Exists(System.IO.Path.Combine(folder, SingleFile)) || !File.Exists(index)) return [SingleFile];
        return [IndexFile, .. ReadIndex(index).Select(static entry => entry.Shard).Where(IsShard).Distinct(StringComparer.Ordinal)];
    }

    /// <inheritdoc/>
    public IReadOnlyList<IDisposable> TakePages() => []; // each tensor in a map keeps it

    /// <inheritdoc/>
    public FrozenMatrix Stored(string name, IReadOnlyList<long> shape, Device device)
    {
        var isHalf = Describe(name).Dtype is SafetensorsDtype.F16 or SafetensorsDtype.BF16;
        var dtype = isHalf ? DtypeOf(Describe(name).Dtype)!.Value : ScalarType.Float32;
        return FrozenMatrices.OfTensor(Read(name, shape, device, dtype).DetachFromDisposeScope());
    }

    /// <summary>Shape and element type of a tensor as stored.</summary>
    /// <exception cref="BadInputException">The folder has no tensor of that name.</exception>
    public SafetensorsTensor Describe(string name) => FileOf(name).Describe(name);

    /// <summary>
    /// A tensor with the stored values: in the map where it can be, which a write would copy page by page and never reach the file;
    /// else converted to <paramref name="dtype"/> on the CPU and then moved.
    /// </summary>
    /// <param name="name">The tensor's name.</param>
    /// <param name="shape">The shape it must have.</param>
    /// <param name="device">Where the result is wanted.</param>
    /// <param name="dtype">Element type of the result.</param>
    /// <exception cref="BadInputException">The tensor is missing, has another shape, or does not hold floats.</exception>
    public Tensor Read(string name, IReadOnlyList<long> shape, Device device, ScalarType dtype)
    {
        var file = FileOf(name);
        var stored = Check(file, name, shape);
        var storedDtype = DtypeOf(stored.Dtype)!.Value;
        using var scope = NewDisposeScope();
        var aligned = IsAligned(file, stored);
        var inMap = aligned && storedDtype == dtype && device.type == DeviceType.CPU;
        // A map for this tensor alone, where it is not kept: its pages go with it.
        var values = aligned ? InMap(inMap ? MapOf(file, dtype) : Map(file, storedDtype), file, stored) : Copied(file, stored);
        var converted = values.to(dtype);
        RefuseNotFinite(file.Path, name, values, converted);
        return converted.to(device).MoveToOuterDisposeScope();
    }

    /// <summary>Reads a tensor for its values alone.</summary>
    /// <exception cref="BadInputException">One of them is not finite.</exception>
    internal void CheckFinite(string name)
    {
        using var scope = NewDisposeScope();
        _ = Read(name, Describe(name).Shape, CPU, DtypeOf(Describe(name).Dtype)!.Value);
    }

    /// <summary>Refuses values that are not finite, or no longer are as another type.</summary>
    /// <param name="path">The file that they come from.</param>
    /// <param name="name">Their tensor.</param>
    /// <param name="values">As they are.</param>
    /// <param name="converted">As they are wanted.</param>
    /// <param name="firstRow">Of the tensor, where they are a part of it.</param>
    /// <exception cref="BadInputException">The first such entry is named.</exception>
    internal static void RefuseNotFinite(string path, string name, Tensor values, Tensor converted, long firstRow = 0)
    {
        if (converted.numel() == 0) return;
        using var scope = NewDisposeScope();
        // Both are NaN where any value is; neither needs memory of the tensor's size.
        var (least, most) = (converted.min().to(ScalarType.Float32).item<float>(), converted.max().to(ScalarType.Float32).item<float>());
        if (float.IsFinite(least) && float.IsFinite(most)) return;
        var at = converted.isfinite().logical_not().flatten().to(ScalarType.Byte).argmax().item<long>();
        var value = values.flatten()[at].to(ScalarType.Float64).item<double>();
        var (place, entry) = (new long[values.shape.Length], at);
        for (var dimension = place.Length - 1; dimension >= 0; entry /= values.shape[dimension--])
            place[dimension] = entry % values.shape[dimension];
        if (place.Length > 0) place[0] += firstRow;
        var what = FormattableString.Invariant(
            $"{path}: tensor {BadInputException.Shown(name)} has {value} at [{string.Join(", ", place)}]");
        var wider = converted.dtype switch
        {
            ScalarType.Float16 => "use bfloat16 or float32",
            ScalarType.Float32 => "no wider type is computed with",
            _ => "use float32",
        };
        throw new BadInputException(double.IsFinite(value)
            ? $"{what}, which {converted.dtype.ToString().ToLowerInvariant()} cannot hold; {wider}"
            : $"{what}, which is not finite; take the weights from an earlier checkpoint");
    }

    /// <summary>Checks that a tensor could be read, without reading it.</summary>
    /// <inheritdoc cref="Read" path="/exception"/>
    public void Check(string name, IReadOnlyList<long> shape) => Check(FileOf(name), name, shape);

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var map in _maps.Values) map.Dispose();
        _files.ForEach(static file => file.Dispose());
    }

    private static SafetensorsTensor Check(SafetensorsFile file, string name, IReadOnlyList<long> shape)
    {
        var stored = file.Describe(name);
        if (!stored.Shape.SequenceEqual(shape))
            throw new BadInputException($"{file.Path}: tensor {BadInputException.Shown(name)}: shape [{string.Join(", ", stored.Shape)}], "
                + $"expected [{string.Join(", ", shape)}]");
        if (DtypeOf(stored.Dtype) is null)
            throw new BadInputException(
                $"{file.Path}: tensor {BadInputException.Shown(name)}: dtype {stored.Dtype}, expected F64, F32, F16 or BF16");
        return stored;
    }

    internal static ScalarType? DtypeOf(SafetensorsDtype dtype) => dtype switch
    {
        SafetensorsDtype.F64 => ScalarType.Float64,
        SafetensorsDtype.F32 => ScalarType.Float32,
        SafetensorsDtype.F16 => ScalarType.Float16,
        SafetensorsDtype.BF16 => ScalarType.BFloat16,
        _ => null,
    };

    private Tensor MapOf(SafetensorsFile file, ScalarType dtype)
    {
        if (!_maps.TryGetValue((file, dtype), out var map)) _maps.Add((file, dtype), map = Map(file, dtype).DetachFromDisposeScope());
        return map;
    }

    // The whole file, header included, as elements of one type.
    private static Tensor Map(SafetensorsFile file, ScalarType dtype)
    {
        try
        {
            return from_file(file.Path, shared: false, file.SizeBytes / dtype.ElementSize(), dtype, CPU);
        }
        catch (ExternalException exception)
        {
            throw new BadInputException(
                $"{file.Path}: cannot be mapped, or was shortened while it was read: {BadInputException.Shown(exception.Message)}",
                exception);
        }
    }

    private static Tensor InMap(Tensor map, SafetensorsFile file, SafetensorsTensor stored) =>
        map.narrow(0, PlaceOf(file, stored) / SafetensorsHeader.SizeOf(stored.Dtype), stored.Count).reshape([.. stored.Shape]);

    // Writers pad the header to 8 bytes, mostly.
    private static bool IsAligned(SafetensorsFile file, SafetensorsTensor stored) =>
        PlaceOf(file, stored) % SafetensorsHeader.SizeOf(stored.Dtype) == 0;

    private static long PlaceOf(SafetensorsFile file, SafetensorsTensor stored) => file.Header.DataOffset + stored.Begin;

    // By rows of the first dimension: a span holds at most 2 GiB.
    private static unsafe Tensor Copied(SafetensorsFile file, SafetensorsTensor stored)
    {
        var target = empty([.. stored.Shape], DtypeOf(stored.Dtype)!.Value, CPU);
        if (stored.SizeBytes == 0) return target;
        var source = file.PointerTo(stored.Name);
        if (stored.SizeBytes <= CopyBytes)
        {
            new ReadOnlySpan<byte>(source, (int)stored.SizeBytes).CopyTo(target.bytes);
            return target;
        }

        var rowBytes = stored.SizeBytes / stored.Shape[0];
        var rows = Math.Max(1, CopyBytes / rowBytes);
        for (var row = 0L; row < stored.Shape[0]; row += rows)
        {
            using var part = target.narrow(0, row, Math.Min(rows, stored.Shape[0] - row));
            new ReadOnlySpan<byte>(source + row * rowBytes, checked((int)(part.shape[0] * rowBytes))).CopyTo(part.bytes);
        }

        return target;
    }

    private SafetensorsFile FileOf(string name) => _fileOf.TryGetValue(name, out var file)
        ? file
        : throw new BadInputException($"{(_files.Count == 1 ? _files[0].Path : System.IO.Path.Combine(Path, IndexFile))}: "
            + $"tensor {BadInputException.Shown(name)} is missing; {_fileOf.Count} others were found");

    private void AddSingleFile(string path)
    {
        var file = SafetensorsFile.Open(path);
        _files.Add(file);
        foreach (var name in file.Header.Tensors.Keys) _fileOf.Add(name, file);
    }

    private void AddShards(string indexPath)
    {
        var shards = new Dictionary<string, SafetensorsFile>(StringComparer.Ordinal);
        foreach (var (tensor, shard) in ReadIndex(indexPath))
        {
            if (!shards.TryGetValue(shard, out var file))
            {
                if (!IsShard(shard))
                    throw new BadInputException($"{indexPath}: tensor {BadInputException.Shown(tensor)} is in "
                        + $"'{BadInputException.Shown(shard)}', expected the name of a .safetensors file in the same folder");
                file = SafetensorsFile.Open(System.IO.Path.Combine(Path, shard));
                shards.Add(shard, file);
                _files.Add(file);
            }

            file.Describe(tensor);
            if (!_fileOf.TryAdd(tensor, file))
                throw new BadInputException($"{indexPath}: tensor {BadInputException.Shown(tensor)} occurs twice in weight_map");
        }

        foreach (var file in _files)
        {
            var stray = file.Header.Tensors.Keys.FirstOrDefault(name => !_fileOf.TryGetValue(name, out var owner) || owner != file);
            if (stray is not null)
                throw new BadInputException(
                    $"{file.Path}: tensor {BadInputException.Shown(stray)} is not assigned to this file by {IndexFile}");
        }
    }

    private static bool IsShard(string name) =>
        name == System.IO.Path.GetFileName(name) && !name.Contains('\\') && name.EndsWith(Extension, StringComparison.Ordinal);

    private static List<(string Tensor, string Shard)> ReadIndex(string path)
    {
        GivenPath.RequirePlainFile(path);
        try
        {
            using var document = JsonDocument.Parse(Utf8Text.ReadBytes(path));
            if (document.RootElement.ValueKind != JsonValueKind.Object || !document.RootElement.TryGetProperty("weight_map", out var map)
                || map.ValueKind != JsonValueKind.Object)
                throw new BadInputException($"{path}: expected an object with weight_map");
            return [.. map.EnumerateObject().Select(entry => (entry.Name, entry.Value.ValueKind == JsonValueKind.String
                ? entry.Value.GetString()!
                : throw new BadInputException(
                    $"{path}: weight_map {BadInputException.Shown(entry.Name)} is {entry.Value.ValueKind}, expected a file name")))];
        }
        catch (Exception exception)
            when (exception is JsonException or InvalidOperationException or IOException or UnauthorizedAccessException)
        {
            throw new BadInputException($"{path}: cannot be read: {BadInputException.Shown(exception.Message)}", exception);
        }
    }
}
