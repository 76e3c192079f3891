using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Training.Metrics;

namespace FedRLora.Training.Data;

/// <summary>What a file of rows is known by: its labels with their answers, and a digest of each row.</summary>
/// <param name="Labels">Distinct pairs of label and completion.</param>
/// <param name="Rows">Of each row, in the file's order; for finding the same row elsewhere on this machine.</param>
internal sealed record FileRows(IReadOnlyList<(string Label, string Completion)> Labels, IReadOnlyList<UInt128> Rows)
{
    /// <summary>The labels, as they count.</summary>
    public IReadOnlyList<string> Names { get; } =
        [.. Labels.Select(static pair => TaskLabels.Spelling(pair.Label)).Distinct(StringComparer.Ordinal)];

    public long SizeBytes => 16L * Rows.Count + Labels.Sum(static pair => 2L * (pair.Label.Length + pair.Completion.Length) + 64);

    public static async Task<FileRows> ReadAsync(string path, CancellationToken cancellationToken)
    {
        var examples = await JsonLines.ReadAsync(path, 0, null, cancellationToken);
        var labelled = examples.Where(static example => example.Label is not null);
        return new([.. labelled.Select(static example => (example.Label!, example.Completion)).Distinct()], [.. examples.Select(Digest)]);
    }

    /// <summary>Of prompt and completion, blanks at their ends aside.</summary>
    public static UInt128 Digest(Example example)
    {
        var text = $"{example.Chat?.Text ?? example.Prompt.Trim()}\0{example.Completion.Trim()}";
        return BitConverter.ToUInt128(SHA256.HashData(Encoding.UTF8.GetBytes(text)));
    }
}

/// <summary>
/// The rows of a task at one site: those of the whole files of all its clients there, so that its labels do not depend on which rows
/// are in reach of a client. Files that cannot be read count for nothing here: their own clients fail by them.
/// </summary>
internal sealed class TaskRows
{
    private readonly Dictionary<string, int> _holders = new(StringComparer.Ordinal);
    private readonly HashSet<UInt128> _trained = [];
    private readonly IReadOnlyDictionary<string, FileRows> _files;
    private readonly Func<string, string> _pathOf;
    private readonly int _clients;

    private TaskRows(
        IReadOnlyList<ClientSpec> clients, IReadOnlyDictionary<string, FileRows> files, Func<string, string> pathOf,
        IReadOnlyList<LabelSpec>? declared)
    {
        (_files, _pathOf, _clients) = (files, pathOf, clients.Count);
        Labels = TaskLabels.Of(
            files.OrderBy(static file => file.Key, StringComparer.Ordinal).SelectMany(static file => file.Value.Labels), declared);
        foreach (var client in clients)
        {
            foreach (var label in LabelsOf(client)) _holders[label] = _holders.GetValueOrDefault(label) + 1;
            _trained.UnionWith(TrainingOf(client));
        }
    }

    /// <summary>The task's labels.</summary>
    public TaskLabels Labels { get; }

    /// <summary>A file that belongs to no plan: its labels are the task's, and nothing was trained on.</summary>
    public static async Task<TaskRows> OfFileAsync(string path, CancellationToken cancellationToken) =>
        new([], new Dictionary<string, FileRows> { [path] = await FileRows.ReadAsync(path, cancellationToken) },
            static path => path, declared: null);

    /// <summary>The rows of a client's task at the client's site.</summary>
    /// <param name="plan">The plan.</param>
    /// <param name="client">The client.</param>
    /// <param name="pathOf">Where a path of the plan leads.</param>
    /// <param name="read">Reads a file.</param>
    public static async Task<TaskRows> OfAsync(
        FederationPlan plan, ClientSpec client, Func<string, string> pathOf, Func<string, Task<FileRows>> read)
    {
        var files = new Dictionary<string, FileRows>(StringComparer.Ordinal);
        foreach (var path in FilesOf(plan, client, pathOf))
        {
            try
            {
                files[path] = await read(path);
            }
            catch (BadInputException)
            {
                continue; // whoever trains or is scored on it says so
            }
        }

        return new([.. ClientsOf(plan, client)], files, pathOf, plan.Tasks.GetValueOrDefault(client.Task)?.Labels);
    }

    /// <summary>The files of a client's task at the client's site.</summary>
    public static IEnumerable<string> FilesOf(FederationPlan plan, ClientSpec client, Func<string, string> pathOf) =>
        ClientsOf(plan, client).SelectMany(static other => new[] { other.Data.Train, other.Data.Test })
            .OfType<string>().Select(pathOf).Distinct(StringComparer.Ordinal);

    /// <summary>
    /// What else makes the rows of a client's task what they are, as one text: the slices of its clients and the labels that the plan
    /// gives it.
    /// </summary>
    public static string OutsideFiles(FederationPlan plan, ClientSpec client) => JsonSerializer.Serialize(new
    {
        Clients = ClientsOf(plan, client).Select(static other => new { other.Id, other.Data }),
        plan.Tasks.GetValueOrDefault(client.Task)?.Labels,
    });

    /// <summary>How many labels no other client of the task has.</summary>
    public int OwnLabels(ClientSpec client) => _clients < 2 ? 0 : LabelsOf(client).Count(label => _holders[label] == 1);

    /// <summary>How many of a client's test rows it, or else another client of the task, trains on.</summary>
    public IReadOnlyList<DataNote> TrainedOn(ClientSpec client, IReadOnlyList<Example> test)
    {
        var own = TrainingOf(client).ToHashSet();
        var (byItself, byOthers) = (0, 0);
        foreach (var row in test.Select(FileRows.Digest))
        {
            if (own.Contains(row)) byItself++;
            else if (_trained.Contains(row)) byOthers++;
        }

        return [.. Note(DataNoteKind.TrainedOn, byItself), .. Note(DataNoteKind.TrainedOnByTask, byOthers)];

        IEnumerable<DataNote> Note(DataNoteKind kind, int count) =>
            count == 0 ? [] : [new() { Kind = kind, Count = count, Of = test.Count }];
    }

    private static IEnumerable<ClientSpec> ClientsOf(FederationPlan plan, ClientSpec client) =>
        plan.Clients.Where(other => other.Task == client.Task && other.Site == client.Site);

    private IEnumerable<string> LabelsOf(ClientSpec client) => new[] { client.Data.Train, client.Data.Test }.OfType<string>()
        .SelectMany(path => FileOf(path)?.Names ?? []).Distinct(StringComparer.Ordinal);

    private IEnumerable<UInt128> TrainingOf(ClientSpec client)
    {
        var rows = (FileOf(client.Data.Train)?.Rows ?? []).Skip(client.Data.Offset);
        return client.Data.Rows is { } count ? rows.Take(count) : rows;
    }

    private FileRows? FileOf(string path) => _files.GetValueOrDefault(_pathOf(path));
}
