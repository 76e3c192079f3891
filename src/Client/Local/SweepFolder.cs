using System.Globalization;
using System.Text.Json;
using System.Text.Json.Serialization;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Plans.Reading;
using FedRLora.Client.RunFolder;
using FedRLora.ControlPlane.Report;
using FedRLora.ControlPlane.Views;
using FedRLora.Silo.Storage;
using FedRLora.Training.Inputs;

namespace FedRLora.Client.Local;

/// <summary>A run of a sweep and how it came out.</summary>
internal sealed record SweepRow
{
    public required string Name { get; init; }
    public required string Folder { get; init; }

    /// <summary>The arm; null where the sweep has none.</summary>
    public string? Arm { get; init; }

    /// <summary>The values of the swept keys.</summary>
    public required IReadOnlyDictionary<string, string> Values { get; init; }

    /// <summary>Who the run's clients are (<see cref="SweepVerdict.ClientsOf"/>).</summary>
    [JsonIgnore]
    public IReadOnlyList<string> Clients { get; init; } = [];

    /// <summary>Where it stands; null before it was begun.</summary>
    public FolderStatus? Status { get; init; }

    public int? Committed { get; init; }
    public string? Metric { get; init; }

    /// <summary>The mean over clients.</summary>
    public double? Score { get; init; }
    public double? StandardError { get; init; }

    /// <summary>To the run with the best mean, of the clients that both have a score of.</summary>
    public double? Difference { get; init; }
    public double? DifferenceError { get; init; }
    public string? Sha256 { get; init; }
    public string? Reason { get; init; }
}

/// <summary>
/// What <c>sweep.json</c> says: what is swept, and the runs as far as they are.
/// </summary>
/// <param name="Schema">The version of the schema.</param>
/// <param name="Root">Where the plan's paths start from.</param>
/// <param name="LocalOnly">Whether runs have their local-only references.</param>
/// <param name="Over">The keys and their values.</param>
/// <param name="Best">The run whose mean is beyond two standard errors of every other; null where there is none, or none yet.</param>
/// <param name="Runs">The runs, in their order.</param>
/// <param name="Arms">The arms; null where there are none.</param>
/// <param name="Groups">Runs that differ in their seed alone, together; null where fewer than two seeds are swept, or before the
/// end.</param>
internal sealed record SweepRecord(
    int Schema, string Root, bool LocalOnly, IReadOnlyList<SweptKey> Over, string? Best, IReadOnlyList<SweepRow> Runs,
    IReadOnlyList<SweptArm>? Arms = null, IReadOnlyList<SeedGroup>? Groups = null);

/// <summary>
/// A folder of runs of one plan with different values: <c>plan.yaml</c>, <c>sweep.json</c>, <c>sweep.csv</c>, <c>sweep.svg</c> and a run
/// folder for each.
/// </summary>
internal sealed class SweepFolder
{
    private const string RecordFile = "sweep.json", TableFile = "sweep.csv", PictureFile = "sweep.svg";

    private SweepFolder(string path, PlanFile plan, SweepRecord record)
    {
        (Path, Plan, Record) = (path, plan, record);
        Runs = SweptRun.Of(record.Over, record.Arms);
        if (Runs.FirstOrDefault(static run => run.Name is RecordFile or TableFile or PictureFile or RunDirectory.PlanFileName) is { } taken)
            throw new BadInputException($"{taken.Name} is a file of the sweep's folder and no name for a run; give the arm another one.");
    }

    /// <summary>The folder.</summary>
    public string Path { get; }

    /// <summary>The plan without the swept values.</summary>
    public PlanFile Plan { get; }

    /// <summary>What is swept.</summary>
    public SweepRecord Record { get; }

    /// <summary>The runs, in their order.</summary>
    public IReadOnlyList<SweptRun> Runs { get; }

    /// <summary>The folder of a run.</summary>
    public string FolderOf(SweptRun run) => System.IO.Path.Combine(Path, run.Name);

    /// <summary>The plan of a run.</summary>
    public PlanFile PlanOf(SweptRun run) => PlanOf(Plan, run);

    /// <inheritdoc cref="PlanOf(SweptRun)"/>
    public static PlanFile PlanOf(PlanFile plan, SweptRun run)
    {
        // An arm is a variant of the plan with what --set changed in it, so it may change that again.
        var variant = run.Arm is { } arm ? plan.AsItStands().With(Assignments(arm.Values), $"--arm {arm.Name}") : plan;
        return variant.With(Assignments(run.Values), "--over");

        static IReadOnlyList<string> Assignments(IEnumerable<KeyValuePair<string, string>> values) =>
            [.. values.Select(static value => $"{value.Key}={value.Value}")];
    }

    /// <summary>
    /// Makes a folder for a sweep: the one asked for or the next free <c>runs/NAME-sweep-N</c>; or takes up one in which the same sweep,
    /// or a part of it, was begun, without a name the newest where it is not finished.
    /// </summary>
    /// <exception cref="BadInputException">The folder asked for holds something else.</exception>
    public static SweepFolder CreateOrTakeUp(string? asked, PlanFile plan, string name, StoreMode mode, SweepRecord record)
    {
        var path = asked;
        if (path is null)
        {
            var number = Enumerable.Range(1, int.MaxValue - 1).First(one => !Directory.Exists(Numbered(name, one)));
            if (number > 1 && Begun(Numbered(name, number - 1), plan, record, mode) is { IsFinished: false } newest) return newest;
            path = Numbered(name, number);
        }

        if (GivenPath.FileOf(path) is { } kind) throw new BadInputException($"{path}: is {kind}; give a folder for the sweep.");
        if (Directory.Exists(path) && Directory.EnumerateFileSystemEntries(path).Any())
        {
            return Begun(path, plan, record, mode) ?? throw new BadInputException(File.Exists(System.IO.Path.Combine(path, RecordFile))
                ? $"{path}: holds a sweep of another plan or other values; give another folder, or continue that one with: "
                    + OwnCommand.Line("sweep", "--resume", path)
                : $"{path}: is not empty; give another folder");
        }

        try
        {
            StorePermissions.MakeFolders(System.IO.Path.GetFullPath(path), mode);
            OutputFile.Replace(System.IO.Path.Combine(path, RunDirectory.PlanFileName), mode, plan.Yaml);
            var made = new SweepFolder(path, plan, record);
            made.Write(mode, [], best: null);
            return made;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException)
        {
            throw new BadInputException($"{path}: cannot be written: {e.Message}", e);
        }
    }

    /// <summary>Opens the folder of a sweep that was begun.</summary>
    /// <exception cref="BadInputException">It is none.</exception>
    public static SweepFolder Open(string path)
    {
        var file = System.IO.Path.Combine(path, RecordFile);
        if (!File.Exists(file))
            throw new BadInputException($"{path}: is no folder of a sweep (no {RecordFile} in it); give one that fedrlora sweep made.");
        try
        {
            var record = JsonSerializer.Deserialize<SweepRecord>(File.ReadAllBytes(file), Json.Lines);
            if (record is not { Root: not null, Over: not null } || record.Over.Count + (record.Arms?.Count ?? 0) == 0)
                throw new JsonException("root or over is missing");
            return new(path, PlanFile.Open(System.IO.Path.Combine(path, RunDirectory.PlanFileName)), record);
        }
        catch (JsonException e)
        {
            throw new BadInputException($"{file}: is no record of a sweep: {e.Message.Split('\n')[0].TrimEnd('.')}.", e);
        }
    }

    /// <summary>Writes how the runs came out.</summary>
    public void Write(StoreMode mode, IReadOnlyList<SweepRow> rows, string? best, IReadOnlyList<SeedGroup>? groups = null)
    {
        var record = Record with { Runs = rows, Best = best, Groups = groups };
        OutputFile.Replace(System.IO.Path.Combine(Path, RecordFile), mode, Json.Page(record) + "\n");
        OutputFile.Replace(System.IO.Path.Combine(Path, TableFile), mode, Csv(rows));
    }

    /// <summary>Draws how the runs came out, where two or more have a score of one metric; else there is no picture.</summary>
    public void Draw(StoreMode mode, IReadOnlyList<SweepRow> rows)
    {
        File.Delete(System.IO.Path.Combine(Path, PictureFile)); // of fewer runs
        List<(SweptRun Run, SweepRow Row)> scored = [.. Runs.Zip(rows).Where(
            static one => one.Second is { Score: { } score, Metric: not null } && double.IsFinite(score))];
        if (scored.Count < 2 || scored.Select(static one => one.Row.Metric).Distinct().Count() > 1) return;
        var plot = new SweepPlot(scored[0].Row.Metric!,
        [
            .. scored.GroupBy(static one => one.Run.GroupKey, StringComparer.Ordinal).Select(static group => new PlottedGroup(
                group.First().Run.Group,
                [.. group.Select(static one => (one.Row.Name, one.Row.Score!.Value, Finite(one.Row.StandardError)))])),
        ]);
        OutputFile.Replace(System.IO.Path.Combine(Path, PictureFile), mode, plot.ToFile());

        static double? Finite(double? value) => value is { } number && double.IsFinite(number) ? number : null;
    }

    private static string Numbered(string name, int number) =>
        System.IO.Path.Combine(RunFolders.Default, string.Create(CultureInfo.InvariantCulture, $"{name}-sweep-{number}"));

    private bool IsFinished => Record.Runs.Count == Runs.Count && Record.Runs.All(static run => run.Status == FolderStatus.Finished);

    // What was begun there, where it is the same sweep, or a part of it: with fewer arms, values or seeds.
    private static SweepFolder? Begun(string path, PlanFile plan, SweepRecord record, StoreMode mode)
    {
        if (!File.Exists(System.IO.Path.Combine(path, RecordFile))) return null;
        var begun = Open(path);
        if (begun.Plan.Yaml != plan.Yaml || begun.Record.Root != record.Root || begun.Record.LocalOnly != record.LocalOnly) return null;
        var whole = new SweepFolder(path, plan, record with { Runs = begun.Record.Runs });
        var runs = whole.Runs.ToDictionary(static run => run.Name, StringComparer.Ordinal);
        var isPart = begun.Runs.All(run => runs.TryGetValue(run.Name, out var same) && run.Values.SequenceEqual(same.Values)
            && (run.Arm?.Values ?? []).SequenceEqual(same.Arm?.Values ?? []));
        if (isPart && whole.Runs.Count > begun.Runs.Count) whole.Write(mode, begun.Record.Runs, best: null); // also for --resume
        return isPart ? whole : null;
    }

    private string Csv(IReadOnlyList<SweepRow> rows)
    {
        var keys = Record.Over.Select(static key => key.Key).ToList();
        string[] arm = Record.Arms is null ? [] : ["arm"];
        IEnumerable<string[]> lines =
        [
            ["run", .. arm, .. keys, "status", "committed", "metric", "score", "standard_error", "difference", "difference_error",
                "sha256"],
            .. rows.Select(row => (string[])
            [
                row.Name, .. arm.Select(_ => row.Arm ?? ""), .. keys.Select(key => row.Values.GetValueOrDefault(key) ?? ""),
                row.Status is { } status ? Words.Named(status) : "", row.Committed?.ToString(CultureInfo.InvariantCulture) ?? "",
                row.Metric ?? "", Number(row.Score), Number(row.StandardError), Number(row.Difference), Number(row.DifferenceError),
                row.Sha256 ?? "",
            ]),
        ];
        return string.Concat(lines.Select(static line => string.Join(',', line.Select(Quoted)) + "\n"));

        static string Number(double? value) => value?.ToString("R", CultureInfo.InvariantCulture) ?? "";

        static string Quoted(string cell) => cell.AsSpan().IndexOfAny(",\"\r\n") < 0
            ? cell : $"\"{cell.Replace("\"", "\"\"", StringComparison.Ordinal)}\"";
    }
}
