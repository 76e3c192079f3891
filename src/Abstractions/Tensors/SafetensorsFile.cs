using System.IO.MemoryMappedFiles;
using System.Runtime.InteropServices;

namespace FedRLora.Abstractions.Tensors;

/// <summary>One safetensors file, memory-mapped for reading: opening costs the header, a tensor costs what is read of it.</summary>
public sealed unsafe class SafetensorsFile : IDisposable
{
    private readonly MemoryMappedFile _map;
    private readonly MemoryMappedViewAccessor _view;
    private byte* _data;

    private SafetensorsFile(string path, SafetensorsHeader header, long sizeBytes, MemoryMappedFile map)
    {
        (Path, Header, SizeBytes, _map) = (path, header, sizeBytes, map);
        _view = map.CreateViewAccessor(0, 0, MemoryMappedFileAccess.Read);
        byte* start = null;
        _view.SafeMemoryMappedViewHandle.AcquirePointer(ref start);
        _data = start + _view.PointerOffset + header.DataOffset;
    }

    /// <summary>The file, as it was given.</summary>
    public string Path { get; }

    /// <summary>The checked header.</summary>
    public SafetensorsHeader Header { get; }

    /// <summary>Size of the whole file.</summary>
    public long SizeBytes { get; }

    /// <summary>Maps the file and checks its header.</summary>
    /// <exception cref="BadInputException">The file cannot be read or is not a valid safetensors file.</exception>
    public static SafetensorsFile Open(string path)
    {
        FileStream? stream = null;
        MemoryMappedFile? map = null;
        try
        {
            stream = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read);
            var sizeBytes = stream.Length;
            var header = SafetensorsHeader.Parse(stream, sizeBytes, path);
            map = MemoryMappedFile.CreateFromFile(
                stream, null, 0, MemoryMappedFileAccess.Read, HandleInheritability.None, leaveOpen: false);
            return new SafetensorsFile(path, header, sizeBytes, map);
        }
        catch (Exception exception)
        {
            map?.Dispose();
            stream?.Dispose();
            if (exception is IOException or UnauthorizedAccessException)
                throw new BadInputException($"{path}: cannot be read: {exception.Message}", exception);
            throw;
        }
    }

    /// <summary>The entry of a tensor.</summary>
    /// <exception cref="BadInputException">The file has no tensor of that name.</exception>
    public SafetensorsTensor Describe(string name) => Header.Tensors.TryGetValue(name, out var tensor)
        ? tensor
        : throw new BadInputException(
            $"{Path}: tensor {BadInputException.Shown(name)} is missing; the file has {Header.Tensors.Count} others");

    /// <summary>Address of a tensor's first byte, valid until the file is disposed; not aligned.</summary>
    /// <inheritdoc cref="Describe" path="/exception"/>
    public byte* PointerTo(string name)
    {
        ObjectDisposedException.ThrowIf(_data is null, this);
        return _data + Describe(name).Begin;
    }

    /// <summary>A tensor's bytes in place, at most 2 GiB; valid until the file is disposed.</summary>
    /// <inheritdoc cref="Describe" path="/exception"/>
    public ReadOnlySpan<byte> Bytes(string name) => new(PointerTo(name), checked((int)Describe(name).SizeBytes));

    /// <summary>A copy of a floating-point tensor as float32.</summary>
    /// <exception cref="BadInputException">The tensor is missing or does not hold floats.</exception>
    public float[] ReadFloat32(string name)
    {
        var tensor = Describe(name);
        var result = new float[tensor.Count];
        SafetensorsCodec.ToFloat32(Bytes(name), tensor, result, Path);
        return result;
    }

    /// <summary>A copy of an F64 tensor.</summary>
    /// <exception cref="BadInputException">The tensor is missing or is not F64.</exception>
    public double[] ReadFloat64(string name) => Read<double>(name, SafetensorsDtype.F64);

    /// <summary>A copy of an I64 tensor.</summary>
    /// <exception cref="BadInputException">The tensor is missing or is not I64.</exception>
    public long[] ReadInt64(string name) => Read<long>(name, SafetensorsDtype.I64);

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_data is null) return;
        _data = null;
        _view.SafeMemoryMappedViewHandle.ReleasePointer();
        _view.Dispose();
        _map.Dispose();
    }

    private T[] Read<T>(string name, SafetensorsDtype expected) where T : unmanaged
    {
        var tensor = Describe(name);
        return tensor.Dtype == expected
            ? MemoryMarshal.Cast<byte, T>(Bytes(name)).ToArray()
            : throw new BadInputException($"{Path}: tensor {name}: dtype {tensor.Dtype}, expected {expected}");
    }
}
