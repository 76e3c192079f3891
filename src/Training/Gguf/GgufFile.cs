using System.IO.MemoryMappedFiles;
using FedRLora.Abstractions;
using FedRLora.Training.Inputs;

namespace FedRLora.Training.Gguf;

/// <summary>
/// A model in one GGUF file or in its parts: all headers are read and checked, then the tensors are mapped, whose pages all processes
/// share.
/// </summary>
internal sealed unsafe class GgufFile : IDisposable
{
    public const string Extension = ".gguf";

    private readonly List<Map> _maps = [];

    private GgufFile(string path, IReadOnlyList<string> paths, GgufHeader header) => (Path, Paths, Header) = (path, paths, header);

    /// <summary>The file, as it was given.</summary>
    public string Path { get; }

    /// <summary>It, or every part of the model in order.</summary>
    public IReadOnlyList<string> Paths { get; }

    /// <summary>Metadata and tensors.</summary>
    public GgufHeader Header { get; }

    /// <summary>Size of the whole file, or of all parts.</summary>
    public long SizeBytes => _maps.Sum(static map => map.SizeBytes);

    /// <summary>What the file says of itself.</summary>
    public GgufMetadata Metadata => Header.Metadata;

    /// <summary>Every tensor, in the file's order.</summary>
    public IReadOnlyDictionary<string, GgufTensor> Tensors => Header.Tensors;

    /// <summary>Reads the header, then maps the file; of a model in parts, all of them whichever is given.</summary>
    /// <exception cref="BadInputException">A file cannot be read, is not a valid GGUF file or is missing.</exception>
    public static GgufFile Open(string path)
    {
        var paths = GgufParts.PathsOf(path);
        var file = new GgufFile(path, paths, GgufParts.ReadHeader(paths));
        try
        {
            for (var part = 0; part < paths.Count; part++) file._maps.Add(new(paths[part], file.EndOf(part)));
            return file;
        }
        catch (Exception exception)
        {
            file.Dispose();
            if (exception is IOException or UnauthorizedAccessException)
                throw new BadInputException($"{path}: cannot be mapped: {exception.Message}", exception);
            throw;
        }
    }

    /// <summary>Reads the headers alone.</summary>
    /// <inheritdoc cref="Open" path="/exception"/>
    public static GgufHeader ReadHeader(string path) => GgufParts.ReadHeader(GgufParts.PathsOf(path));

    /// <summary>Reads the header of one file, which may be a part of a model.</summary>
    /// <exception cref="BadInputException">The file cannot be read or is not a valid GGUF file.</exception>
    internal static GgufHeader ReadOne(string path)
    {
        GivenPath.RequirePlainFile(path);
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
        ObjectDisposedException.ThrowIf(_maps.Count == 0, this);
        return _maps[tensor.Part].Start + tensor.Offset;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _maps.ForEach(static map => map.Dispose());
        _maps.Clear();
    }

    // What the tensors need: a read behind the end of a mapping ends the process.
    private long EndOf(int part) =>
        Tensors.Values.Where(tensor => tensor.Part == part).Select(static tensor => tensor.Offset + tensor.SizeBytes)
            .DefaultIfEmpty().Max();

    private sealed class Map : IDisposable
    {
        private readonly MemoryMappedFile _file;
        private readonly MemoryMappedViewAccessor _view;

        public Map(string path, long needed)
        {
            using var stream = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read, bufferSize: 0);
            SizeBytes = stream.Length;
            if (SizeBytes < needed)
                throw new BadInputException($"{path}: was shortened to {SizeBytes} bytes while it was read; its tensors need {needed}");
            _file = MemoryMappedFile.CreateFromFile(stream, null, 0, MemoryMappedFileAccess.Read, HandleInheritability.None,
                leaveOpen: true);
            _view = _file.CreateViewAccessor(0, 0, MemoryMappedFileAccess.Read);
            byte* start = null;
            _view.SafeMemoryMappedViewHandle.AcquirePointer(ref start);
            Start = start + _view.PointerOffset;
        }

        public long SizeBytes { get; }

        public byte* Start { get; }

        public void Dispose()
        {
            _view.SafeMemoryMappedViewHandle.ReleasePointer();
            _view.Dispose();
            _file.Dispose();
            GC.SuppressFinalize(this);
        }

        // The handle counts the pointer: with it, it would never let go.
        ~Map() => _view.SafeMemoryMappedViewHandle.ReleasePointer();
    }
}
