using System.IO.MemoryMappedFiles;
using FedRLora.Abstractions;

namespace FedRLora.Training.Gguf;

/// <summary>One GGUF file: its header is read and checked, then its tensors are mapped, whose pages all processes share.</summary>
internal sealed unsafe class GgufFile : IDisposable
{
    private readonly MemoryMappedFile _map;
    private readonly MemoryMappedViewAccessor _view;
    private byte* _start;

    private GgufFile(string path, GgufHeader header, long sizeBytes, MemoryMappedFile map)
    {
        (Path, Header, SizeBytes, _map) = (path, header, sizeBytes, map);
        _view = map.CreateViewAccessor(0, 0, MemoryMappedFileAccess.Read);
        _view.SafeMemoryMappedViewHandle.AcquirePointer(ref _start);
        _start += _view.PointerOffset;
    }

    /// <summary>The file, as it was given.</summary>
    public string Path { get; }

    /// <summary>Metadata and tensors.</summary>
    public GgufHeader Header { get; }

    /// <summary>Size of the whole file.</summary>
    public long SizeBytes { get; }

    /// <summary>What the file says of itself.</summary>
    public GgufMetadata Metadata => Header.Metadata;

    /// <summary>Every tensor, in the file's order.</summary>
    public IReadOnlyDictionary<string, GgufTensor> Tensors => Header.Tensors;

    /// <summary>Reads the header, then maps the file.</summary>
    /// <exception cref="BadInputException">The file cannot be read or is not a valid GGUF file.</exception>
    public static GgufFile Open(string path)
    {
        FileStream? stream = null;
        MemoryMappedFile? map = null;
        try
        {
            stream = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read, bufferSize: 1 << 16);
            var header = GgufHeader.Read(stream, path);
            map = MemoryMappedFile.CreateFromFile(
                stream, null, 0, MemoryMappedFileAccess.Read, HandleInheritability.None, leaveOpen: false);
            return new GgufFile(path, header, stream.Length, map);
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

    /// <summary>Reads the header alone.</summary>
    /// <inheritdoc cref="Open" path="/exception"/>
    public static GgufHeader ReadHeader(string path)
    {
        try
        {
            using var stream = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read, bufferSize: 1 << 16);
            return GgufHeader.Read(stream, path);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw new BadInputException($"{path}: cannot be read: {exception.Message}", exception);
        }
    }

    /// <summary>Address of a tensor's first byte, valid until the file is disposed; not aligned to more than the file aligns it.</summary>
    public byte* PointerTo(GgufTensor tensor)
    {
        ObjectDisposedException.ThrowIf(_start is null, this);
        return _start + tensor.Offset;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_start is null) return;
        _start = null;
        _view.SafeMemoryMappedViewHandle.ReleasePointer();
        _view.Dispose();
        _map.Dispose();
    }
}
