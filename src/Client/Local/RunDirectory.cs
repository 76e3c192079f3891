using System.Globalization;
using System.Text.Json;
using System.Text.Json.Serialization;
using FedRLora.Abstractions;

namespace FedRLora.Client.Local;

/// <summary>What a run folder remembers besides the store: where the plan's relative paths start from, and its jobs.</summary>
/// <param name="Root">The folder of the plan.</param>
/// <param name="Plan">The plan's name.</param>
/// <param name="LocalOnly">Whether the local-only reference runs too.</param>
internal sealed record RunRecord(string Root, string Plan, bool LocalOnly);

/// <summary>
/// A run on one machine: <c>plan.yaml</c>, <c>run.json</c>, <c>store/</c> with every committed round, <c>metrics.csv</c>,
/// <c>metrics.jsonl</c>, <c>report.html</c> and <c>adapters/</c>.
/// </summary>
internal sealed class RunDirectory : IDisposable
{
    private const string LockFile = ".lock";

    private bool _wasThere;
    private FileStream? _lock;

    private RunDirectory(string path, RunRecord record)
    {
        Path = path;
        Record = record;
    }

    public string Path { get; }

    public RunRecord Record { get; }

    public string Store => System.IO.Path.Combine(Path, "store");

    /// <summary>Its jobs: the run, and the local-only reference where it has one.</summary>
    public IReadOnlyList<string> Jobs => Record.LocalOnly ? [Record.Plan, LocalRun.LocalOnlyJob(Record.Plan)] : [Record.Plan];

    /// <summary>Where adapters go unless another folder is asked for.</summary>
    public string Adapters => System.IO.Path.Combine(Path, "adapters");

    public string PlanPath => System.IO.Path.Combine(Path, "plan.yaml");

    /// <summary>Makes a new folder, the one asked for or the next free <c>runs/NAME-N</c>, and keeps other processes from running in it.</summary>
    /// <exception cref="BadInputException">The folder asked for holds something, or cannot be made.</exception>
    /// <param name="asked">The folder asked for; null for the next free one.</param>
    /// <param name="file">The plan.</param>
    /// <param name="name">The plan's name.</param>
    /// <param name="localOnly">Whether the local-only reference runs too.</param>
    /// <param name="root">Where the plan's paths start from; null for the plan's own folder.</param>
    public static RunDirectory Create(string? asked, PlanFile file, string name, bool localOnly, string? root = null)
    {
        var path = asked ?? Enumerable.Range(1, int.MaxValue - 1)
            .Select(number => System.IO.Path.Combine("runs", string.Create(CultureInfo.InvariantCulture, $"{name}-{number}")))
            .First(static candidate => !Directory.Exists(candidate));
        if (File.Exists(path)) throw new BadInputException($"{path}: is a file; give a folder for the run.");
        var run = new RunDirectory(path, new RunRecord(root ?? file.Folder, name, localOnly)) { _wasThere = Directory.Exists(path) };
        try
        {
            if (!run._wasThere) Directory.CreateDirectory(path);
            run.Lock();
            if (Directory.EnumerateFileSystemEntries(path).Any(static entry => System.IO.Path.GetFileName(entry) != LockFile))
                throw new BadInputException($"{path}: is not empty; give another folder, or continue the run in it with fedrlora resume {path}.");
            File.WriteAllText(run.PlanPath, file.Yaml);
            File.WriteAllBytes(System.IO.Path.Combine(path, "run.json"), JsonSerializer.SerializeToUtf8Bytes(run.Record, RunJson.Default.RunRecord));
            return run;
        }
        catch (Exception e)
        {
            run.Dispose();
            if (e is IOException or UnauthorizedAccessException or ArgumentException) throw new BadInputException($"{path}: cannot be written: {e.Message}", e);
            throw;
        }
    }

    /// <summary>Opens the folder of an earlier run and keeps other processes from running in it.</summary>
    /// <exception cref="BadInputException">It is none, or another process runs in it.</exception>
    public static RunDirectory OpenToRun(string path)
    {
        var run = Open(path);
        try
        {
            run.Lock();
            return run;
        }
        catch (UnauthorizedAccessException e)
        {
            throw new BadInputException($"{path}: cannot be written: {e.Message}", e);
        }
    }

    /// <summary>Opens the folder of an earlier run.</summary>
    /// <exception cref="BadInputException">It is none.</exception>
    public static RunDirectory Open(string path)
    {
        var record = System.IO.Path.Combine(path, "run.json");
        if (!File.Exists(record)) throw new BadInputException($"{path}: is not a run folder (no run.json in it); give a folder that fedrlora simulate made.");
        try
        {
            return new RunDirectory(path, JsonSerializer.Deserialize(File.ReadAllBytes(record), RunJson.Default.RunRecord) ?? throw new JsonException("it is empty"));
        }
        catch (JsonException e)
        {
            throw new BadInputException($"{record}: {e.Message}", e);
        }
    }

    /// <summary>Whether the folder's run has fewer rounds than are asked for.</summary>
    /// <exception cref="BadInputException">It has as many already.</exception>
    public void RequireFewer(int rounds)
    {
        var now = PlanFile.Open(PlanPath).Require().Strategy.Rounds;
        if (rounds <= now) throw new BadInputException($"{Path}: has {now} rounds already; give more with --rounds.");
    }

    /// <summary>Writes a plan with more rounds in place of the folder's; the job takes it up when it is resumed.</summary>
    public void Extend(int rounds)
    {
        var written = PlanPath + ".new";
        File.WriteAllText(written, PlanFile.Open(PlanPath).WithRounds(rounds).Yaml);
        File.Move(written, PlanPath, overwrite: true);
    }

    /// <summary>Undoes <see cref="Create"/>: what was made is deleted.</summary>
    public void Discard()
    {
        Dispose();
        foreach (var folder in Directory.EnumerateDirectories(Path)) Directory.Delete(folder, recursive: true);
        foreach (var file in Directory.EnumerateFiles(Path)) File.Delete(file);
        if (!_wasThere) Directory.Delete(Path);
    }

    /// <summary>Lets other processes run in the folder.</summary>
    public void Dispose() => _lock?.Dispose();

    private void Lock()
    {
        var path = System.IO.Path.Combine(Path, LockFile);
        try
        {
            _lock = new FileStream(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
        }
        catch (IOException e) when (File.Exists(path))
        {
            throw new BadInputException($"{Path} is in use by another process", e);
        }
    }
}

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, WriteIndented = true, RespectRequiredConstructorParameters = true)]
[JsonSerializable(typeof(RunRecord))]
internal sealed partial class RunJson : JsonSerializerContext;
