using System.CommandLine;
using FedRLora.Abstractions;
using FedRLora.Client.Control;
using FedRLora.Client.Local;
using FedRLora.Client.RunFolder;
using FedRLora.ControlPlane.Metrics;
using FedRLora.ControlPlane.Views;

namespace FedRLora.Client.Commands;

/// <summary>
/// <c>fedrlora metrics runs/NAME-N</c>, or a run's name with <c>--server</c>: the numbers of every committed round, for other programs.
/// </summary>
internal static class MetricsCommand
{
    private const string Csv = "csv", JsonLines = "jsonl", Clients = "client", Tasks = "task";
    private const long MostBytes = 4L << 30;

    public static Command Create()
    {
        var format = new Option<string>("--format")
        {
            Description = "csv (default): a row for each round and client, or task; jsonl: an object for each round, with clients and tasks",
            DefaultValueFactory = static _ => Csv,
        };
        format.AcceptOnlyFromAmong(Csv, JsonLines);
        var by = new Option<string?>("--by") { Description = "Of csv: what a row is of, client (default) or task" };
        by.AcceptOnlyFromAmong(Clients, Tasks);
        var target = new Option<string?>("--out") { Description = "The file; by default standard output" };
        var command = new Command("metrics", "Write the numbers of a run's committed rounds, also of one that is going on")
        {
            format, by, target,
        };
        var run = RunTarget.AddTo(command);
        command.SetAction(async (parsed, cancellationToken) =>
        {
            var (isCsv, rows) = (parsed.GetRequiredValue(format) == Csv, parsed.GetValue(by));
            if (rows is not null && !isCsv)
                throw new BadInputException("--by: a line of jsonl holds clients and tasks both; give --format csv, or leave --by out");
            if (run.IsOnSilos(parsed))
            {
                using var silos = run.Silos.Open(parsed);
                var path = $"{ControlClient.Run(run.Name(parsed))}/metrics?format={(isCsv ? Csv : JsonLines)}&by={rows ?? Clients}";
                await using var metrics = await silos.FileAsync(
                    path, isCsv ? "text/csv" : "application/jsonl", silos.Patience.Call, MostBytes, cancellationToken);
                await PutAsync(metrics.Content);
            }
            else
            {
                using var folder = run.Folder(parsed);
                var results = await FolderResults.ReadAsync(folder, cancellationToken);
                var views = results.Rounds.Select(round => RoundView.Of(round, results.Plan)).ToList();
                var text = !isCsv ? string.Concat(views.Select(static view => MetricsText.JsonLine(view) + "\n"))
                    : rows == Tasks ? MetricsText.TaskCsv(views) : MetricsText.Csv(views);
                using var content = new MemoryStream(System.Text.Encoding.UTF8.GetBytes(text), writable: false);
                await PutAsync(content);
            }

            return ExitCode.Done;

            async Task PutAsync(Stream content)
            {
                if (parsed.GetValue(target) is { } path)
                {
                    await GivenFile.WriteAsync(path, mode: null, content, cancellationToken);
                    return;
                }

                using var reader = new StreamReader(content);
                var (output, block) = (parsed.InvocationConfiguration.Output, new char[1 << 16]);
                while (await reader.ReadAsync(block, cancellationToken) is > 0 and var read)
                    await output.WriteAsync(block.AsMemory(0, read), cancellationToken);
            }
        });
        return command;
    }
}
