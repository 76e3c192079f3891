using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Ports;
using FedRLora.Client.Control;
using FedRLora.Client.Local;
using FedRLora.Client.Rendering;
using FedRLora.ControlPlane.Access;
using FedRLora.ControlPlane.Views;
using FedRLora.Grains.Store;

namespace FedRLora.Client.Commands;

/// <summary><c>fedrlora runs</c>: the run folders of this machine, or with <c>--server</c> every run of the silos' store.</summary>
internal static class RunsCommand
{
    public static Command Create()
    {
        var folders = new Argument<string[]>("folder")
        {
            Description = $"Run folders, or folders of run folders; by default {RunFolders.Default}/ of the current folder",
            Arity = ArgumentArity.ZeroOrMore,
        };
        var json = SharedOptions.Json();
        var command = new Command("runs", "List the runs of this machine, or with --server those of running silos") { folders, json };
        var target = ControlTarget.AddTo(command);
        command.SetAction((parsed, cancellationToken) =>
        {
            var given = parsed.GetValue(folders) ?? [];
            if (!target.IsMeant(parsed)) return FoldersAsync(given, Screen.Of(parsed, parsed.GetValue(json)), cancellationToken);
            return given.Length == 0
                ? SilosAsync(target, parsed, parsed.GetValue(json), cancellationToken)
                : throw new BadInputException($"{given[0]}: --server lists all runs of silos; folders are listed without it");
        });
        return command;
    }

    private static async Task<int> FoldersAsync(string[] given, Screen screen, CancellationToken cancellationToken)
    {
        var (runs, others) = Found(given, screen);
        var read = new List<FolderRun>();
        foreach (var folder in runs)
        {
            try
            {
                var run = await FolderRun.ReadAsync(folder, cancellationToken);
                read.Add(run);
                if (screen.Mode == ScreenMode.Json) await screen.Output.WriteLineAsync(Json.Line(run));
            }
            catch (Exception e) when (ProblemOf(e) is { } problem)
            {
                if (screen.Mode == ScreenMode.Json)
                    await screen.Output.WriteLineAsync(Json.Line(new { Folder = folder, Problem = problem }));
                screen.Note(problem.StartsWith(folder, StringComparison.Ordinal) ? problem : $"{folder}: {problem}");
            }
        }

        if (others.Count > 0)
            screen.Note($"{(others.Count == 1 ? "this folder is" : $"{others.Count} folders are")} no run: {string.Join(", ", others)}");
        if (screen.Mode == ScreenMode.Json || read.Count == 0) return ExitCode.Done;
        var reasons = read.Any(static run => run.Reason is not null);
        string[] header = ["folder", "plan", "method", "status", "committed", "score", "metric", "loss", "last commit"];
        await screen.Output.WriteAsync(PlainTable.Of(
            [.. header, .. reasons ? ["reason"] : (string[])[]],
            [.. read.Select(run => (string[])[.. Cells(run), .. reasons ? [run.Reason ?? ""] : (string[])[]])], screen.Width));
        return ExitCode.Done;
    }

    private static (IReadOnlyList<string> Runs, IReadOnlyList<string> Others) Found(string[] given, Screen screen)
    {
        if (given.Length == 0 && !Directory.Exists(RunFolders.Default))
        {
            screen.Note($"there is no folder {RunFolders.Default}/ here; {OwnCommand.Line("simulate")} makes runs there, and runs of silos "
                + $"are listed with --server {ServerAddress.Default}");
            return ([], []);
        }

        var (runs, others) = (new List<string>(), new List<string>());
        foreach (var folder in given.DefaultIfEmpty(RunFolders.Default))
        {
            if (!Directory.Exists(folder))
                throw new BadInputException($"{folder}: {(File.Exists(folder) ? "is a file; give a run folder" : "no such folder")}");
            var (found, foreign) = RunFolders.Below(folder);
            runs.AddRange(found);
            others.AddRange(foreign);
        }

        return ([.. runs.Distinct()], others);
    }

    private static string? ProblemOf(Exception exception) => exception switch
    {
        BadInputException or CorruptBlobException or StoreUnavailableException => exception.Message.Split('\n')[0].TrimEnd('.'),
        IOException or UnauthorizedAccessException or JsonException => $"cannot be read: {exception.Message.Split('\n')[0]}",
        _ => null,
    };

    private static string[] Cells(FolderRun run) =>
    [
        run.Folder, run.Plan, run.Method, Words.Named(run.Status),
        string.Create(CultureInfo.InvariantCulture, $"{run.Committed ?? 0}/{run.Rounds}"),
        Words.Score(run.Score), run.Metric ?? Words.None, Words.Loss(run.Loss),
        run.At.ToString("yyyy-MM-dd HH:mm'Z'", CultureInfo.InvariantCulture),
    ];

    private static async Task<int> SilosAsync(ControlTarget target, ParseResult parsed, bool json, CancellationToken cancellationToken)
    {
        using var silos = target.Open(parsed);
        var runs = (await silos.GetAsync<RunList>(Routes.ListRuns.Pattern, cancellationToken)).Runs;
        var output = parsed.InvocationConfiguration.Output;
        if (json)
        {
            foreach (var run in runs) await output.WriteLineAsync(JsonSerializer.Serialize(run, Json.Lines));
            return ExitCode.Done;
        }

        string[][] rows =
        [
            .. runs.Select(static run => new[]
            {
                run.Run, run.Name, run.Status.ToString().ToLowerInvariant(),
                string.Create(CultureInfo.InvariantCulture, $"{run.Committed}/{run.Rounds}"), run.Hold?.Text ?? run.Reason ?? "",
            }),
        ];
        await output.WriteAsync(PlainTable.Of(
            ["run", "plan", "status", "committed", "reason"], rows, Screen.Of(parsed, json: false).Width));
        return ExitCode.Done;
    }
}
