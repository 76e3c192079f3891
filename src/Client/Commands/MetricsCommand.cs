using System.CommandLine;
using System.Text;
using System.Text.Json;
using FedRLora.Abstractions;
using FedRLora.Client.Control;
using FedRLora.Client.Local;
using FedRLora.Client.RunFolder;
using FedRLora.ControlPlane.Metrics;
using FedRLora.ControlPlane.Views;
using FedRLora.Grains.Clients;
using FedRLora.Training.Inputs;

namespace FedRLora.Client.Commands;

/// <summary>
/// <c>fedrlora metrics runs/NAME-N</c>, or a run's name with <c>--server</c>: the numbers of every committed round, or of single steps, for
/// other programs.
/// </summary>
internal static class MetricsCommand
{
    private const string Csv = "csv", JsonLines = "jsonl", TensorBoard = "tensorboard", Clients = "client", Tasks = "task", Steps = "steps";
    private const string LinesType = "application/jsonl";
    private const long MostBytes = 4L << 30;

    public static Command Create()
    {
        var format = new Option<string?>("--format")
        {
            Description = "csv (default): a row for each round and client, or task; jsonl: an object for each round, "
                + "with clients and tasks; tensorboard: event files in the folder that --out names",
        };
        format.AcceptOnlyFromAmong(Csv, JsonLines, TensorBoard);
        var by = new Option<string?>("--by")
        {
            Description = "Of csv: what a row is of, client (default) or task; of jsonl: steps, an object for each step that was kept",
        };
        by.AcceptOnlyFromAmong(Clients, Tasks, Steps);
        var target = new Option<string?>("--out") { Description = "The file, or of tensorboard the folder; by default standard output" };
        var command = new Command("metrics", "Write the numbers of a run's committed rounds, also of one that is going on")
        {
            format, by, target,
        };
        var run = RunTarget.AddTo(command);
        command.SetAction(async (parsed, cancellationToken) =>
        {
            var rows = parsed.GetValue(by);
            if (parsed.GetValue(format) == TensorBoard)
            {
                if (rows is not null) throw new BadInputException("--by: event files hold means over clients and tasks; leave --by out");
                await WriteEventsAsync(parsed, run, parsed.GetValue(target), cancellationToken);
                return ExitCode.Done;
            }

            var isCsv = (parsed.GetValue(format) ?? (rows == Steps ? JsonLines : Csv)) == Csv;
            if (rows == Steps && isCsv) throw new BadInputException("--by steps: points of steps are written as jsonl alone");
            if (rows is Clients or Tasks && !isCsv)
                throw new BadInputException("--by: a line of jsonl holds clients and tasks both; give --format csv, or leave --by out");
            var asked = new Asked(isCsv, rows, parsed.InvocationConfiguration.Error);
            Func<TextWriter, Task<int>> write;
            if (run.IsOnSilos(parsed))
            {
                var name = run.Name(parsed);
                using var silos = run.Silos.Open(parsed);
                write = writer => rows == Steps
                    ? StepsOfSilosAsync(silos, name, asked, writer, cancellationToken)
                    : OfSilosAsync(silos, name, asked, writer, cancellationToken);
                return await PutAsync();
            }

            using var folder = run.Folder(parsed);
            write = writer => rows == Steps
                ? StepsOfFolderAsync(folder, asked, writer, cancellationToken) : OfFolderAsync(folder, asked, writer, cancellationToken);
            return await PutAsync();

            async Task<int> PutAsync()
            {
                if (parsed.GetValue(target) is not { } path) return await write(parsed.InvocationConfiguration.Output);
                var code = ExitCode.Done;
                await GivenFile.WriteAsync(path, mode: null, async writer => code = await write(writer));
                return code;
            }
        });
        return command;
    }

    private static async Task WriteEventsAsync(
        ParseResult parsed, RunTarget run, string? target, CancellationToken cancellationToken)
    {
        if (target is null) throw new BadInputException("--out: name a folder; event files are no text for standard output");
        if (GivenPath.FileOf(target) is { } kind) throw new BadInputException($"--out: {target} is {kind}; name a folder");
        var folder = new TensorBoardFolder(target);
        if (run.IsOnSilos(parsed))
        {
            var name = run.Name(parsed);
            using var silos = run.Silos.Open(parsed);
            await folder.WriteAsync(silos, name, cancellationToken);
        }
        else
        {
            using var source = run.Folder(parsed);
            var results = await FolderResults.ReadAsync(source, cancellationToken);
            folder.Write(results.Plan, results.Rounds, results.LocalOnly);
        }

        await parsed.InvocationConfiguration.Output.WriteLineAsync($"show them with: tensorboard --logdir {target}");
    }

    private static async Task<int> OfFolderAsync(RunDirectory run, Asked asked, TextWriter writer, CancellationToken cancellationToken)
    {
        var results = await FolderResults.ReadAsync(run, cancellationToken);
        var views = results.Rounds.Select(round => RoundView.Of(round, results.Plan)).ToList();
        await writer.WriteAsync(!asked.IsCsv ? string.Concat(views.Select(static view => MetricsText.JsonLine(view) + "\n"))
            : asked.By == Tasks ? MetricsText.TaskCsv(views) : MetricsText.Csv(views));
        return ExitCode.Done;
    }

    private static async Task<int> OfSilosAsync(
        ControlClient silos, string run, Asked asked, TextWriter writer, CancellationToken cancellationToken)
    {
        var path = $"{ControlClient.Run(run)}/metrics?format={(asked.IsCsv ? Csv : JsonLines)}&by={asked.By ?? Clients}";
        await using var metrics = await silos.FileAsync(
            path, asked.IsCsv ? "text/csv" : LinesType, silos.Patience.Call, MostBytes, cancellationToken);
        await metrics.Content.CopyToAsync(writer, cancellationToken);
        return ExitCode.Done;
    }

    private static async Task<int> StepsOfFolderAsync(
        RunDirectory run, Asked asked, TextWriter writer, CancellationToken cancellationToken)
    {
        run.RequireStore();
        using var store = run.OpenStore();
        foreach (var client in run.RequirePlan().Require().Clients)
        {
            var files = StepPointsFile.ReadAllAsync(store, run.Record.Plan, client.Site, client.Id, cancellationToken);
            await foreach (var (_, lines) in files)
                await WriteAsync(client.Id, new StringReader(Encoding.UTF8.GetString(lines)), asked, writer, cancellationToken);
        }

        return asked.End();
    }

    private static async Task<int> StepsOfSilosAsync(
        ControlClient silos, string run, Asked asked, TextWriter writer, CancellationToken cancellationToken)
    {
        foreach (var site in (await silos.PlanAsync(run, cancellationToken)).Require().Clients.GroupBy(static client => client.Site))
        {
            try
            {
                foreach (var client in site)
                {
                    await using var steps = await silos.FileAsync(
                        $"{ControlClient.Client(run, client.Id)}/steps", LinesType, silos.Patience.Call, MostBytes, cancellationToken);
                    using var reader = new StreamReader(steps.Content, Encoding.UTF8);
                    await WriteAsync(client.Id, reader, asked, writer, cancellationToken);
                }
            }
            catch (NoAnswerException e) when (!e.WasNotSent)
            {
                await asked.AwayAsync(site.Key, e.Message);
            }
        }

        return asked.End();
    }

    // A line as its site keeps it does not say whose it is.
    private static async Task WriteAsync(
        string client, TextReader lines, Asked asked, TextWriter writer, CancellationToken cancellationToken)
    {
        var whose = $"{{\"schema\":{Json.Schema},\"client\":{JsonSerializer.Serialize(client, Json.Lines)},";
        while (await lines.ReadLineAsync(cancellationToken) is { } line)
        {
            if (!line.StartsWith('{')) continue;
            await writer.WriteAsync($"{whose}{line.AsSpan(1)}\n");
            asked.Count++;
        }
    }

    private sealed class Asked(bool isCsv, string? by, TextWriter error)
    {
        private bool _isWhole = true;

        public bool IsCsv => isCsv;

        public string? By => by;

        /// <summary>Points of steps that were written.</summary>
        public long Count { get; set; }

        public Task AwayAsync(string site, string why)
        {
            _isWhole = false;
            return error.WriteLineAsync($"site {site} does not answer, so that steps of its clients are not among these: {why}");
        }

        public int End()
        {
            if (Count == 0 && _isWhole) error.WriteLine("note: no points of steps are kept; a plan asks for them with telemetry.steps");
            return _isWhole ? ExitCode.Done : ExitCode.Environment;
        }
    }
}
