using System.CommandLine;
using FedRLora.Abstractions;
using FedRLora.Client.Control;
using FedRLora.Client.Local;
using FedRLora.Client.RunFolder;
using FedRLora.ControlPlane.Report;

namespace FedRLora.Client.Commands;

/// <summary>
/// <c>fedrlora report runs/NAME-N</c>, or a run's name with <c>--server</c>: the page of a run as of what is committed, as one file.
/// </summary>
internal static class ReportCommand
{
    private const long MostBytes = 512L << 20;

    public static Command Create()
    {
        var target = new Option<string?>("--out")
        {
            Description = "The file; by default report.html in the run's folder, with the pictures in plots beside it",
        };
        var command = new Command("report", "Write the report of a run, also of one that is going on, as one HTML file") { target };
        var run = RunTarget.AddTo(command);
        command.SetAction(async (parsed, cancellationToken) =>
        {
            string path;
            if (run.IsOnSilos(parsed))
            {
                path = parsed.GetValue(target) ?? throw new BadInputException("--out: name the file for the report of a run on silos.");
                var name = run.Name(parsed);
                using var silos = run.Silos.Open(parsed);
                _ = (await silos.PlanAsync(name, cancellationToken)).Require(); // a page alone does not say whose it is
                await using var report = await silos.FileAsync(
                    $"{ControlClient.Run(name)}/report", "text/html", silos.Patience.Call, MostBytes, cancellationToken);
                await GivenFile.WriteAsync(path, mode: null, writer => report.Content.CopyToAsync(writer, cancellationToken));
            }
            else
            {
                using var folder = run.Folder(parsed);
                var results = await FolderResults.ReadAsync(folder, cancellationToken);
                var report = ReportContent.Of(results.Plan, results.Rounds, results.LocalOnly, results.PlanYaml,
                    FolderResults.FactsOf(folder, results.Plan), results.VersusLocal);
                if (parsed.GetValue(target) is { } given)
                {
                    path = given;
                    await GivenFile.WriteAsync(path, mode: null, writer => writer.WriteAsync(HtmlReport.Render(report)));
                }
                else
                {
                    path = Path.Combine(folder.Path, ReportFiles.Page);
                    WriteBeside(folder, report);
                }
            }

            await parsed.InvocationConfiguration.Output.WriteLineAsync($"report: {path}");
            return ExitCode.Done;
        });
        return command;
    }

    private static void WriteBeside(RunDirectory folder, ReportContent report)
    {
        try
        {
            ReportFiles.Write(folder.Path, folder.Record.Mode, report);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new BadInputException(
                $"{folder.Path}: the report cannot be written there: {e.Message}; give another place with --out", e);
        }
    }
}
