using System.Collections.Concurrent;
using System.Runtime.CompilerServices;
using System.Security.Cryptography;
using System.Text;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;
using FedRLora.Training.Inputs;

namespace FedRLora.Training.Data;

/// <summary>The rows of tasks, read once and looked after once in a round: a task may have very many clients.</summary>
/// <param name="files">Where what is known of a file is kept.</param>
/// <param name="pathOf">Where a path of a plan leads.</param>
internal sealed class TaskCache(BoundedCache files, Func<string, string> pathOf)
{
    private readonly ConditionalWeakTable<FederationPlan, ConcurrentDictionary<(string Task, string Site), Kept>> _plans = [];

    private sealed record Kept(int Round, string Version, TaskRows Rows);

    /// <summary>The rows of a client's task, and a text that is another one when they are.</summary>
    public async Task<(string Version, TaskRows Rows)> GetAsync(TrainingGroup group, ClientSpec client, CancellationToken cancellationToken)
    {
        var tasks = _plans.GetOrCreateValue(group.Plan);
        var key = (client.Task, client.Site);
        if (tasks.TryGetValue(key, out var kept) && kept.Round == group.Round) return (kept.Version, kept.Rows);
        var version = await Task.Run(() => VersionOf(group.Plan, client), cancellationToken);
        var rows = kept?.Version == version
            ? kept.Rows
            : await TaskRows.OfAsync(group.Plan, client, pathOf, path => ReadAsync(path, cancellationToken));
        tasks[key] = new(group.Round, version, rows);
        return (version, rows);
    }

    /// <summary>A path with a text that is another one whenever the file may have changed.</summary>
    public static string VersionOf(string path)
    {
        var file = new FileInfo(path);
        var version = FileStamp.Of(path)?.ToString() ?? (file.Exists ? $"{file.Length} {file.LastWriteTimeUtc.Ticks}" : "");
        return $"{path} {version}";
    }

    private Task<FileRows> ReadAsync(string path, CancellationToken cancellationToken) => files.GetAsync(
        $"rows {VersionOf(path)}", () => Task.Run(() => FileRows.ReadAsync(path, cancellationToken), cancellationToken),
        static rows => rows.SizeBytes, cancellationToken);

    private string VersionOf(FederationPlan plan, ClientSpec client)
    {
        var all = new StringBuilder(TaskRows.OutsideFiles(plan, client));
        foreach (var path in TaskRows.FilesOf(plan, client, pathOf)) all.AppendLine(VersionOf(path));
        return Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(all.ToString())));
    }
}
