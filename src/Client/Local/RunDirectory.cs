using System.Globalization;
using System.Text.Json;
using System.Text.Json.Serialization;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;
using FedRLora.Client.RunFolder;
using FedRLora.ControlPlane.Trackers;
using FedRLora.Silo.Storage;
using FedRLora.Silo.Trackers;
using FedRLora.Training.Inputs;

namespace FedRLora.Client.Local;

/// <summary>What a run folder remembers besides the store: where the plan's relative paths start from, and its jobs.</summary>
/// <param name="Root">The folder of the plan.</param>
/// <param name="Plan">The plan's name.</param>
/// <param name="LocalOnly">Whether the local-only reference runs too.</param>
/// <param name="Mode">Who may read and write the folder.</param>
/// <param name="Durability">What a power cut may take of it.</param>
/// <param name="Origin">Of a fork: the digest of the manifest it starts from; null for any other run.</param>
/// <param name="RootFromHere">
/// The folder of the plan as seen from the run's, for when both were moved; null in runs of earlier builds.
/// </param>
/// <param name="ForkedFrom">Of a fork: the run and the round it began from, in words; null in forks of earlier builds.</param>
/// <param name="Mlflow">The MLflow server that its points go to; null where there is none.</param>
internal sealed record RunRecord(
    string Root, string Plan, bool LocalOnly, StoreMode Mode = StoreMode.Private, Durability Durability = Durability.Full,
    string? Origin = null, string? RootFromHere = null, string? ForkedFrom = null, string? Mlflow = null);

/// <summary>
/// A run on one machine: <c>plan.yaml</c>, <c>run.json</c>, <c>store/</c> with every committed round, <c>metrics.csv</c>,
/// <c>metrics-by-task.csv</c>, <c>metrics.jsonl</c>, <c>tensorboard/</c>, <c>report.html</c> and <c>adapters/</c>.
/// </summary>
internal sealed class RunDirectory : IDisposable
{
    /// <summary>In the place of a server's address: none.</summary>
    public const string NoMlflow = "none";

    private const string LockFile = ".lock";
    internal const string RecordFile = "run.json";
    internal const string PlanFileName = "plan.yaml";
    private const string TensorBoardFolder = "tensorboard";
    private const int HeldByAnother = 11; // EWOULDBLOCK

    private bool _wasThere;
    private FileStream? _lock;

    private RunDirectory(string path, RunRecord record)
    {
        Path = path;
        Record = record;
    }

    public string Path { get; }

    public RunRecord Record { get; private set; }

    /// <summary>The MLflow server that its points go to; null where there is none.</summary>
    public MlflowServer? Mlflow => Record.Mlflow is { } address ? MlflowServer.Parse(address) with { SendsFinished = true } : null;

    public string Store => System.IO.Path.Combine(Path, "store");

    /// <summary>Opens its store, which is made where it is not there.</summary>
    public DirectoryBlobStore OpenStore() => new(Store, Record.Mode, Record.Durability);

    /// <summary>Its jobs: the run, and the local-only reference where it has one.</summary>
    public IReadOnlyList<string> Jobs => Record.LocalOnly ? [Record.Plan, LocalOnlyRun.Of(Record.Plan)] : [Record.Plan];

    /// <summary>The metrics of its rounds as files.</summary>
    public MetricsFiles Metrics(FederationPlan plan) =>
        new(Path, System.IO.Path.Combine(Path, TensorBoardFolder, TrackerNames.Federated), Record.Mode, plan);

    /// <summary>The metrics of its local-only reference's rounds as files.</summary>
    public MetricsFiles MetricsOfLocalOnly(FederationPlan plan) =>
        new(System.IO.Path.Combine(Path, TrackerNames.LocalOnly), System.IO.Path.Combine(Path, TensorBoardFolder, TrackerNames.LocalOnly),
            Record.Mode, plan);

    /// <summary>Where adapters of a form go unless another folder is asked for.</summary>
    public string AdaptersOf(ExportForm form) => System.IO.Path.Combine(Path, form.FolderName);

    /// <summary>Where adapters of tasks go unless another folder is asked for.</summary>
    public string TaskAdaptersOf(ExportForm form) => System.IO.Path.Combine(Path, $"task-{form.FolderName}");

    public string PlanPath => System.IO.Path.Combine(Path, PlanFileName);

    /// <summary>
    /// Makes a new folder, the one asked for or the next free <c>runs/NAME-N</c>, and keeps other processes from running in it.
    /// </summary>
    /// <exception cref="BadInputException">The folder asked for holds something, or cannot be made.</exception>
    /// <param name="asked">The folder asked for; null for the next free one.</param>
    /// <param name="file">The plan.</param>
    /// <param name="plan">What it says.</param>
    /// <param name="localOnly">Whether the local-only reference runs too.</param>
    /// <param name="root">Where the plan's paths start from; null for the plan's own folder.</param>
    /// <param name="origin">Of a fork: the digest of the manifest it starts from.</param>
    /// <param name="forkedFrom">Of a fork: the run and the round it begins from, in words.</param>
    public static RunDirectory Create(
        string? asked, PlanFile file, FederationPlan plan, bool localOnly,
        string? root = null, string? origin = null, string? forkedFrom = null)
    {
        var path = asked ?? Enumerable.Range(1, int.MaxValue - 1)
            .Select(number => System.IO.Path.Combine("runs", string.Create(CultureInfo.InvariantCulture, $"{plan.Name}-{number}")))
            .First(static candidate => !Directory.Exists(candidate));
        if (GivenPath.FileOf(path) is { } kind) throw new BadInputException($"{path}: is {kind}; give a folder for the run.");
        var (mode, durability) = (plan.Store.Mode ?? StoreMode.Private, plan.Store.Durability ?? Durability.Full);
        var record = new RunRecord(root ?? file.Folder, plan.Name, localOnly, mode, durability, origin, ForkedFrom: forkedFrom);
        record = record with { RootFromHere = System.IO.Path.GetRelativePath(System.IO.Path.GetFullPath(path), record.Root) };
        var run = new RunDirectory(path, record) { _wasThere = Directory.Exists(path) };
        try
        {
            StorePermissions.MakeFolders(System.IO.Path.GetFullPath(path), mode);
            run.Lock();
            if (Directory.EnumerateFileSystemEntries(path).Any(static entry => System.IO.Path.GetFileName(entry) != LockFile))
                throw new BadInputException($"{path}: is not empty; give another folder, or continue the run in it with: "
                    + $"{OwnCommand.Line("resume", path)}");
            StorePermissions.MakeFolder(run.Store, mode); // from run.json on, a folder without a store has lost it
            OutputFile.Replace(run.PlanPath, mode, file.Yaml);
            run.WriteRecord();
            return run;
        }
        catch (Exception e)
        {
            run.Dispose();
            if (e is IOException or UnauthorizedAccessException or ArgumentException)
                throw new BadInputException($"{path}: cannot be written: {e.Message}", e);
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
        var file = System.IO.Path.Combine(path, RecordFile);
        const string PutBack = "put it back; it holds {\"root\": the folder that the plan's paths start from, "
            + "\"plan\": the plan's name, \"localOnly\": true or false}";
        if (!File.Exists(file))
        {
            throw new BadInputException(Directory.Exists(System.IO.Path.Combine(path, "store"))
                ? $"{file} is missing; {PutBack}."
                : $"{path}: is {OtherThanARun(path)} (no {RecordFile} in it); give a folder that fedrlora simulate made.");
        }

        GivenPath.RequirePlainFile(file);
        try
        {
            var record = JsonSerializer.Deserialize(File.ReadAllBytes(file), RunJson.Default.RunRecord)
                ?? throw new JsonException("it is empty");
            return Identifiers.IsValid(record.Plan)
                ? new RunDirectory(path, Found(path, record))
                : throw new JsonException($"plan: '{BadInputException.Shown(record.Plan)}' is no name of a plan");
        }
        catch (JsonException e)
        {
            throw new BadInputException($"{file}: {e.Message.Split('\n')[0].TrimEnd(' ', '.', '\r')}; {PutBack}.", e);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new BadInputException($"{file}: cannot be read: {e.Message}", e);
        }
    }

    // A run that was moved together with its plan finds what lies beside the plan where it is now.
    private static RunRecord Found(string path, RunRecord record)
    {
        if (record.RootFromHere is not { } way || Directory.Exists(record.Root)) return record;
        var moved = System.IO.Path.GetFullPath(way, System.IO.Path.GetFullPath(path));
        return HoldsInputs(moved, System.IO.Path.Combine(path, PlanFileName)) ? record with { Root = moved } : record;
    }

    // A folder may stand there by chance, above a run that was moved alone.
    private static bool HoldsInputs(string root, string planPath)
    {
        try
        {
            return File.Exists(planPath) && PlanFile.Open(planPath).Read().Plan is { } plan
                && System.IO.Path.Exists(System.IO.Path.GetFullPath(plan.Model.Path, root))
                && plan.Clients.Any(client => File.Exists(System.IO.Path.GetFullPath(client.Data.Train, root)));
        }
        catch (BadInputException)
        {
            return false; // who needs the plan says what is wrong with it
        }
    }

    /// <summary>The folder that the plan's relative paths start from is there.</summary>
    /// <exception cref="BadInputException">It is not: the run, or that folder, was moved without the other.</exception>
    public void RequireRoot()
    {
        if (Directory.Exists(Record.Root)) return;
        throw new BadInputException($"{System.IO.Path.Combine(Path, RecordFile)}: root: {Record.Root}, "
            + "from which the plan's paths start, is not there; write there where that folder is now.");
    }

    private static string OtherThanARun(string path)
    {
        return (GivenPath.FileOf(path) ?? GivenPath.FolderOf(path)) is { } kind ? $"{kind} and not a run folder" : "not a run folder";
    }

    /// <summary>The run's blobs are there.</summary>
    /// <exception cref="BadInputException">They are not.</exception>
    public void RequireStore()
    {
        if (!Directory.Exists(Store)) throw new BadInputException($"{Store} is missing; put it back with all that was in it.");
    }

    /// <summary>A file of results that only a run with committed rounds has; null where there is none.</summary>
    public string? Result => new[] { "metrics.csv", "metrics.jsonl", "report.html" }
        .Select(name => System.IO.Path.Combine(Path, name)).FirstOrDefault(File.Exists);

    /// <summary>The plan in the folder.</summary>
    /// <exception cref="BadInputException">It is missing, has mistakes, or is another run's.</exception>
    public PlanFile RequirePlan()
    {
        const string PutBack = "fedrlora repair puts back the plan that the run was made with";
        if (!File.Exists(PlanPath)) throw new BadInputException($"{PlanPath} is missing; {PutBack}.");
        var file = PlanFile.Open(PlanPath);
        if (file.Read() is not { Plan: { } plan })
            throw new BadInputException($"{PlanPath} is no plan any more; {PutBack}, and "
                + $"{OwnCommand.Line("validate", PlanPath)} says what is wrong.");
        return plan.Name == Record.Plan
            ? file
            : throw new BadInputException($"{PlanPath} is the plan of {plan.Name}, the run is one of {Record.Plan}; {PutBack}.");
    }

    /// <summary>Whether the folder's run has fewer rounds than are asked for.</summary>
    /// <exception cref="BadInputException">It has as many already.</exception>
    public void RequireFewer(int rounds)
    {
        var now = RequirePlan().Require().Strategy.Rounds;
        if (rounds <= now) throw new BadInputException($"{Path}: has {now} rounds already; give more with --rounds.");
    }

    /// <summary>Writes a plan with more rounds in place of the folder's; the job takes it up when it is resumed.</summary>
    public void Extend(int rounds)
    {
        OutputFile.Replace(PlanPath, Record.Mode, RequirePlan().WithRounds(rounds).Yaml);
    }

    /// <summary>Writes the plan that the run was made with; what was there is kept beside it.</summary>
    public void PutBackPlan(string yaml)
    {
        if (File.Exists(PlanPath)) File.Move(PlanPath, PlanPath + ".replaced", overwrite: true);
        OutputFile.Replace(PlanPath, Record.Mode, yaml);
    }

    /// <summary>Writes down which MLflow server its points go to.</summary>
    /// <param name="server">The server's address; <see cref="NoMlflow"/> for none; null where it stays as it is.</param>
    public void SendTo(string? server)
    {
        var record = Record with { Mlflow = server == NoMlflow ? null : server ?? Record.Mlflow };
        if (record == Record) return;
        Record = record;
        WriteRecord();
    }

    /// <summary>Undoes <see cref="Create"/>: what was made is deleted.</summary>
    public void Discard()
    {
        Dispose();
        foreach (var folder in Directory.EnumerateDirectories(Path)) Directory.Delete(folder, recursive: true);
        foreach (var file in Directory.EnumerateFiles(Path)) File.Delete(file);
        if (!_wasThere) Directory.Delete(Path);
    }

    /// <summary>Whether a process runs in the folder.</summary>
    public bool IsInUse
    {
        get
        {
            try
            {
                // shared, so that two who look do not see each other
                new FileStream(System.IO.Path.Combine(Path, LockFile), FileMode.Open, FileAccess.Read, FileShare.Read).Dispose();
                return false;
            }
            catch (IOException e) when (e.HResult == HeldByAnother)
            {
                return true;
            }
            catch (FileNotFoundException)
            {
                return false;
            }
        }
    }

    /// <summary>When a blob of the store was written; without one, when the folder was made.</summary>
    public DateTimeOffset LastWritten(string? key) =>
        File.GetLastWriteTimeUtc(System.IO.Path.Combine(key is null ? Path : Store, key ?? RecordFile));

    /// <summary>Lets other processes run in the folder.</summary>
    public void Dispose() => _lock?.Dispose();

    private void WriteRecord() => OutputFile.Replace(System.IO.Path.Combine(Path, RecordFile), Record.Mode,
        stream => JsonSerializer.Serialize(stream, Record, RunJson.Default.RunRecord));

    private void Lock()
    {
        var path = System.IO.Path.Combine(Path, LockFile);
        try
        {
            if (!File.Exists(path)) StorePermissions.Create(path, Record.Mode).Dispose();
            _lock = new FileStream(path, FileMode.Open, FileAccess.ReadWrite, FileShare.None);
        }
        catch (IOException e) when (e.HResult == HeldByAnother)
        {
            throw new BadInputException($"{Path} is in use by another process", e);
        }
    }
}

[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, WriteIndented = true, UseStringEnumConverter = true,
    RespectRequiredConstructorParameters = true)]
[JsonSerializable(typeof(RunRecord))]
internal sealed partial class RunJson : JsonSerializerContext;
