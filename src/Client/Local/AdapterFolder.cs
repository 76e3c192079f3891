using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;
using FedRLora.Client.RunFolder;
using FedRLora.Grains.Exports;
using FedRLora.Silo.Storage;

namespace FedRLora.Client.Local;

/// <summary>Exported adapters in a folder, each in a folder of its client's name, or of its task's.</summary>
/// <param name="folder">The folder; made where it is not there.</param>
/// <param name="mode">Who may read it; null, for what is handed on: whoever may read what this user makes.</param>
/// <param name="relativeBase">
/// The base model, to be named by its path from the adapter's folder; null where it is named by its whole path.
/// </param>
/// <param name="nameOf">The name of the folder for a client's adapter.</param>
internal sealed class AdapterFolder(string folder, StoreMode? mode, string? relativeBase, Func<string, string> nameOf) : IExportTarget
{
    public ExportForm? FormOf(string client, ExportForm? form) => relativeBase is null
        ? form
        : (form ?? new()) with { BaseModel = Path.GetRelativePath(PlaceOf(client), relativeBase) };

    public Task<string> WriteAsync(string client, ExportedAdapter adapter, CancellationToken cancellationToken)
    {
        Write(PlaceOf(client), adapter, mode);
        return Task.FromResult(PlaceOf(client));
    }

    /// <summary>Writes one adapter, in place of what is there.</summary>
    /// <param name="folder">Its own folder; made where it is not there.</param>
    /// <param name="adapter">What is written.</param>
    /// <param name="mode">Who may read it; null as above.</param>
    /// <exception cref="BadInputException">The folder cannot be written.</exception>
    public static void Write(string folder, ExportedAdapter adapter, StoreMode? mode = null)
    {
        try
        {
            if (mode is { } known) StorePermissions.MakeFolders(Path.GetFullPath(folder), known);
            else Directory.CreateDirectory(folder);
            foreach (var file in ExportedFiles.Of(adapter)) OutputFile.Replace(Path.Combine(folder, file.Name), mode, file.Write);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException)
        {
            throw new BadInputException($"{folder}: cannot be written: {e.Message}", e);
        }
    }

    private string PlaceOf(string client) => Path.Combine(folder, nameOf(client));
}
