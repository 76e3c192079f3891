using System.Formats.Tar;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Ports;

namespace FedRLora.Client.Control;

/// <summary>
/// Adapters of a run on silos, made at their sites and put into a folder. All are of one round; each client's files take their places
/// when the last of them is there, so that nothing that was cut is taken for an adapter.
/// </summary>
/// <param name="silos">The silos.</param>
/// <param name="run">The run.</param>
/// <param name="form">The form.</param>
internal sealed class AdapterDownload(ControlClient silos, string run, ExportForm form)
{
    private const long MostBytes = 64L << 30;
    private const int Tries = 3, MostFiles = 16;
    private static readonly string[] Needed = ["adapter_config.json", "adapter_model.safetensors"];

    /// <summary>Writes adapters.</summary>
    /// <param name="folder">Where the folders go; made where it is not there.</param>
    /// <param name="clients">The clients, each with its site and the name of its folder.</param>
    /// <param name="cancellationToken">The caller's token.</param>
    /// <exception cref="BadInputException">The method has no such form, or the folder cannot be written; nothing was written.</exception>
    public async Task<Downloaded> WriteAsync(
        string folder, IReadOnlyList<(string Client, string Site, string Name)> clients, CancellationToken cancellationToken)
    {
        var made = !Directory.Exists(folder);
        var staging = Path.Combine(folder, $".export.{Guid.NewGuid():n}");
        try
        {
            Directory.CreateDirectory(staging);
            var away = new Dictionary<string, string>(StringComparer.Ordinal);
            var round = await CommittedAsync(cancellationToken);
            for (var tries = 1; ; tries++)
            {
                foreach (var (client, site, _) in clients.Where(one => !away.ContainsKey(one.Site)))
                {
                    try
                    {
                        await FetchAsync(client, Path.Combine(staging, client), cancellationToken);
                    }
                    catch (NoAnswerException e) when (!e.WasNotSent)
                    {
                        away[site] = e.Message;
                    }
                }

                // of a run that goes on, the next round may have been committed in between
                if (await CommittedAsync(cancellationToken) is var now && now == round) break;
                if (tries == Tries)
                    throw new BadInputException($"{run}: the run is going on and left round {round} meanwhile; "
                        + "try again when it is finished or paused.");
                round = now;
            }

            string[] written = [.. clients.Where(one => !away.ContainsKey(one.Site)).Select(static one => one.Client)];
            foreach (var (client, _, name) in clients.Where(one => !away.ContainsKey(one.Site)))
                Place(Path.Combine(staging, client), Path.Combine(folder, name));
            return new(round, written, away);
        }
        catch (Exception e) when (e is UnauthorizedAccessException or IOException)
        {
            throw new BadInputException($"{folder}: cannot be written: {e.Message}", e);
        }
        finally
        {
            if (Directory.Exists(staging)) Directory.Delete(staging, recursive: true);
            if (made && Directory.Exists(folder) && !Directory.EnumerateFileSystemEntries(folder).Any()) Directory.Delete(folder);
        }
    }

    private async Task FetchAsync(string client, string folder, CancellationToken cancellationToken)
    {
        var path = $"{ControlClient.Client(run, client)}/adapter"
            + $"?vllm={Flag(form.Vllm)}&padRank={Flag(form.PadRank)}&nearest={Flag(form.Nearest)}";
        await using var file = await silos.FileAsync(path, "application/x-tar", silos.Patience.Work, MostBytes, cancellationToken);
        if (Directory.Exists(folder)) Directory.Delete(folder, recursive: true);
        Directory.CreateDirectory(folder);
        try
        {
            await using var archive = new TarReader(file.Content);
            for (var files = 1; await archive.GetNextEntryAsync(copyData: false, cancellationToken) is { } entry; files++)
            {
                if (entry.EntryType is not (TarEntryType.RegularFile or TarEntryType.V7RegularFile) || !Identifiers.IsValid(entry.Name)
                    || files > MostFiles)
                    throw Unusable(client, $"'{BadInputException.Shown(entry.Name)}' is no file of an adapter");
                await using var target = new FileStream(Path.Combine(folder, entry.Name), FileMode.CreateNew, FileAccess.Write);
                if (entry.DataStream is { } data) await data.CopyToAsync(target, cancellationToken);
                target.Flush(flushToDisk: true);
            }
        }
        catch (Exception e) when (e is InvalidDataException or EndOfStreamException or FormatException)
        {
            throw Unusable(client, "it is no archive, or was cut", e);
        }

        if (Needed.FirstOrDefault(name => !File.Exists(Path.Combine(folder, name))) is { } missing)
            throw Unusable(client, $"{missing} is missing");
    }

    private async Task<int> CommittedAsync(CancellationToken cancellationToken) =>
        (await silos.StandingAsync(run, cancellationToken)).Committed;

    private EnvironmentException Unusable(string client, string why, Exception? innerException = null) =>
        new($"what came as the adapter of {client} of run {run} is none: {why}; nothing of it was written", innerException);

    // What else lies in the folder stays; the configuration, without which nothing is an adapter, comes last.
    private static void Place(string from, string folder)
    {
        Directory.CreateDirectory(folder);
        foreach (var file in Directory.EnumerateFiles(from).OrderBy(static file => Path.GetFileName(file) == Needed[0])
            .ThenBy(static file => file, StringComparer.Ordinal))
            File.Move(file, Path.Combine(folder, Path.GetFileName(file)), overwrite: true);
    }

    private static string Flag(bool value) => value ? "true" : "false";
}

/// <summary>Adapters that were written.</summary>
/// <param name="Round">Their round.</param>
/// <param name="Clients">The clients.</param>
/// <param name="Away">Sites that did not answer, with what was said instead.</param>
internal sealed record Downloaded(int Round, IReadOnlyCollection<string> Clients, IReadOnlyDictionary<string, string> Away);
