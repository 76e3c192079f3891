using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Ports;

namespace FedRLora.Grains.Exports;

/// <summary>An exported adapter on its way to whoever asked: nothing of it is stored.</summary>
internal sealed class StreamedExport : IExportTarget
{
    private readonly Queue<FilePiece> _pieces = new();

    /// <summary>The pieces of its files in order, each let go as it is taken.</summary>
    public IEnumerable<FilePiece> Take()
    {
        while (_pieces.TryDequeue(out var piece)) yield return piece;
    }

    public Task<string> WriteAsync(string client, ExportedAdapter adapter, CancellationToken cancellationToken) => Task.Run(() =>
    {
        foreach (var piece in ExportedFiles.Of(adapter).SelectMany(static file => FilePieces.Of(file.Name, file.Write)))
            _pieces.Enqueue(piece);
        return client;
    }, cancellationToken);
}
