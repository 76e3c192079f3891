using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Plans.Reading;
using FedRLora.Abstractions.Ports;
using FedRLora.Abstractions.Sending;
using FedRLora.Client.Rendering;
using FedRLora.ControlPlane.Views;
using FedRLora.Grains.Store;
using FedRLora.Training.Devices;

namespace FedRLora.Client.Local;

/// <summary>Runs a sweep on this machine, one run after another, and compares what came out.</summary>
/// <param name="sweep">The sweep.</param>
/// <param name="screen">Where to.</param>
/// <param name="maySend">What the sites let leave them.</param>
/// <param name="work">What they work on.</param>
internal sealed class LocalSweep(SweepFolder sweep, Screen screen, SendingLimits maySend, Workplace work) : IDisposable
{
    // What was loaded and scored for one run is there for the next on the same base: the frozen weights, and their scores on the same rows.
    private DeviceTrainers? _trainers;
    private (string Root, ModelSpec Model)? _base;

    // As the plans say, which stay as they are while it runs.
    private readonly Dictionary<string, IReadOnlyList<string>> _clients = sweep.Runs.ToDictionary(
        static run => run.Name, run => SweepVerdict.ClientsOf(sweep.PlanOf(run).Require()), StringComparer.Ordinal);

    private readonly StoreMode _mode = sweep.PlanOf(sweep.Runs[0]).Require().Store.Mode ?? StoreMode.Private;

    /// <inheritdoc/>
    public void Dispose() => _trainers?.Dispose();

    /// <summary>The exit code: 1 where a run failed, which does not keep the others from running.</summary>
    public async Task<int> RunAsync(CancellationToken cancellationToken)
    {
        var failed = false;
        var rows = await RowsAsync(cancellationToken);
        foreach (var (run, index) in sweep.Runs.Select(static (run, index) => (run, index)))
        {
            var which = $"run {index + 1} of {sweep.Runs.Count}: {run.Name}";
            if (rows[index].Status == FolderStatus.Finished)
            {
                if (screen.Mode != ScreenMode.Json) await screen.Output.WriteLineAsync($"{which} is finished");
                continue;
            }

            await screen.Output.WriteLineAsync(screen.Mode == ScreenMode.Json
                ? Json.Line(new { Run = run.Name, Folder = sweep.FolderOf(run), Values = ValuesOf(run), Arm = run.Arm?.Name })
                : $"{which}, in {sweep.FolderOf(run)}");
            var code = await RunAsync(run, cancellationToken);
            rows = await RowsAsync(CancellationToken.None);
            sweep.Write(_mode, rows, best: null);
            if (code == ExitCode.Interrupted)
            {
                await screen.Error.WriteLineAsync($"The sweep goes on with: {OwnCommand.Line("sweep", "--resume", sweep.Path)}");
                return code;
            }

            failed |= code != ExitCode.Done;
        }

        await CompareAsync(rows, cancellationToken);
        return failed ? ExitCode.Failed : ExitCode.Done;
    }

    private async Task<int> RunAsync(SweptRun run, CancellationToken cancellationToken)
    {
        try
        {
            var (folder, file) = (sweep.FolderOf(run), sweep.PlanOf(run));
            if (!File.Exists(Path.Combine(folder, RunDirectory.RecordFile))) return await BeginAsync(folder, file, cancellationToken);
            using var begun = RunDirectory.OpenToRun(folder);
            var local = new LocalRun(begun, screen, maySend, Working(begun.Record.Root, file.Require()));
            await local.RequireWholeAsync(file, anyEngine: false, cancellationToken);
            await LocalInputsCheck.RequireAsync(begun, rounds: null, allowed: false, screen, cancellationToken);
            return await local.RunAsync(resume: true, allowEngineChange: false, cancellationToken);
        }
#pragma warning disable CA1031 // Whatever ended it, the other runs go on.
        catch (Exception e)
#pragma warning restore CA1031
        {
            var (code, message) = Cli.Explain(e, cancellationToken);
            await screen.Error.WriteLineAsync($"{run.Name}: {message}");
            return code;
        }
    }

    private async Task<int> BeginAsync(string folder, PlanFile file, CancellationToken cancellationToken)
    {
        // What a kill in the middle of its making left; no job is in it.
        if (Directory.Exists(folder) && !Directory.Exists(Path.Combine(folder, "store", "jobs"))) Directory.Delete(folder, recursive: true);
        var plan = file.Require();
        var localOnly = sweep.Record.LocalOnly && LocalOnlyRun.IsAskedBy(plan);
        using var run = RunDirectory.Create(folder, file, plan, localOnly, sweep.Record.Root);
        var local = new LocalRun(run, screen, maySend, Working(run.Record.Root, plan));
        try
        {
            return await local.RunAsync(resume: false, allowEngineChange: false, cancellationToken);
        }
        catch when (!local.HasBegun)
        {
            run.Discard();
            Interruption.LastWord = null;
            throw;
        }
    }

    // A base that no other run uses goes with its run.
    private Workplace Working(string root, FederationPlan plan)
    {
        if (_base != (root, plan.Model))
        {
            _trainers?.Dispose();
            _trainers = new(
                new() { Root = root, Lanes = work.Lanes, Note = note => screen.Warn([note]), Forecast = screen.Note }, work.Devices);
            _base = (root, plan.Model);
        }

        _trainers!.ForgetWhatWasSaid();
        return work with { Trainers = _trainers };
    }

    private async Task<IReadOnlyList<SweepRow>> RowsAsync(CancellationToken cancellationToken)
    {
        var rows = new List<SweepRow>();
        foreach (var run in sweep.Runs)
        {
            var row = new SweepRow
            {
                Name = run.Name, Folder = sweep.FolderOf(run), Arm = run.Arm?.Name, Values = ValuesOf(run),
                Clients = _clients[run.Name],
            };
            rows.Add(!File.Exists(Path.Combine(row.Folder, RunDirectory.RecordFile)) ? row : await StandsAsync(row, cancellationToken));
        }

        return rows;
    }

    private static async Task<SweepRow> StandsAsync(SweepRow row, CancellationToken cancellationToken)
    {
        try
        {
            var run = await FolderRun.ReadAsync(row.Folder, cancellationToken);
            return row with
            {
                Status = run.Status, Committed = run.Committed, Metric = run.Metric, Score = run.Score, Sha256 = run.Sha256,
                Reason = run.Reason,
            };
        }
        catch (Exception e) when (e is BadInputException or CorruptBlobException or StoreUnavailableException)
        {
            return row with { Status = FolderStatus.Failed, Reason = e.Message.Split('\n')[0] };
        }
    }

    private async Task CompareAsync(IReadOnlyList<SweepRow> rows, CancellationToken cancellationToken)
    {
        List<SweepRow> finished = [.. rows.Where(static row => row.Status == FolderStatus.Finished)];
        if (finished.Count > Comparison.Most)
            screen.Note($"of {finished.Count} finished runs the {Comparison.Most} best are compared; {sweep.Path} has all");
        var ranked = SweepOutcome.Ranked(finished).Take(Comparison.Most).ToList();
        var comparison = ranked.Count < 2 ? null : await FolderComparison.OfAsync(
            [.. ranked.Select(static row => row.Folder)], [.. ranked.Select(static row => row.Name)], cancellationToken);
        var outcome = comparison is null ? null : new SweepOutcome(comparison, ranked);
        rows = [.. rows.Select(row => outcome?.Told(row) ?? row)];
        var table = await SeedTable.OfAsync(
            [.. sweep.Runs.Zip(rows).Where(static one => one.First.Seed is not null && one.Second.Status == FolderStatus.Finished)
                .Select(static one => new SeedRun(
                    one.First.GroupKey, one.First.Group, one.First.Seed!, one.First.Name, one.Second.Metric, one.Second.Score,
                    one.Second.Clients))],
            names => FolderComparison.OfAsync([.. names.Select(name => Path.Combine(sweep.Path, name))], names, cancellationToken));
        sweep.Write(_mode, rows, outcome?.Best, table?.Groups);
        sweep.Draw(_mode, rows);
        if (screen.Mode == ScreenMode.Json)
        {
            await screen.Output.WriteLineAsync(
                Json.Line(new { Sweep = sweep.Path, outcome?.Best, Runs = rows, Comparison = comparison, table?.Groups }));
            return;
        }

        await screen.Output.WriteLineAsync();
        if (outcome is not null) await screen.Output.WriteAsync(outcome.ToText(screen.Width));
        if (table is not null) await screen.Output.WriteAsync($"\n{table.ToText(screen.Width)}\n");
        foreach (var row in rows.Where(static row => row.Status != FolderStatus.Finished))
            await screen.Output.WriteLineAsync($"{row.Name}: {(row.Status is { } status ? Words.Named(status) : "not begun")}"
                + $"{(row.Reason is { } why ? $": {why}" : "")}");
        await screen.Output.WriteLineAsync($"sweep: {sweep.Path}");
    }

    private static Dictionary<string, string> ValuesOf(SweptRun run) => new(run.Values, StringComparer.Ordinal);
}
