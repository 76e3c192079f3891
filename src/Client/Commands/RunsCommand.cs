using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using FedRLora.Abstractions.Messages;
using FedRLora.Client.Cluster;
using FedRLora.Client.Rendering;
using FedRLora.ControlPlane.Views;

namespace FedRLora.Client.Commands;

/// <summary><c>fedrlora runs</c>: every run of the silos' store.</summary>
internal static class RunsCommand
{
    public static Command Create()
    {
        var json = SharedOptions.Json();
        var command = new Command("runs", "List the runs of running silos") { json };
        var cluster = ClusterTarget.AddTo(command);
        command.SetAction(async (parsed, cancellationToken) =>
        {
            await using var silos = await cluster.OpenAsync(parsed, cancellationToken);
            var runs = await silos.RunsAsync(cancellationToken);
            var output = parsed.InvocationConfiguration.Output;
            if (parsed.GetValue(json))
            {
                foreach (var run in runs)
                {
                    await output.WriteLineAsync(JsonSerializer.Serialize(new
                    {
                        run = run.JobId, run.Name, status = run.Status.ToString(), committed = Committed(run),
                        run.Round, run.Rounds, run.Phase, run.Reason,
                        hold = HoldOf(run.Hold),
                    }, Json.Lines));
                }
            }
            else
            {
                string[][] rows =
                [
                    .. runs.Select(static run => new[]
                    {
                        run.JobId, run.Name, run.Status.ToString().ToLowerInvariant(),
                        string.Create(CultureInfo.InvariantCulture, $"{Committed(run)}/{run.Rounds}"), run.Hold?.Text ?? run.Reason ?? "",
                    }),
                ];
                var columns = Screen.Of(parsed, json: false).Width;
                await output.WriteAsync(PlainTable.Of(["run", "plan", "status", "committed", "reason"], rows, columns));
            }

            return ExitCode.Done;
        });
        return command;
    }

    // Rounds with an update: the open one, and round 0, are none.
    private static int Committed(JobProgress run) => run.Status == JobStatus.Finished ? run.Rounds : Math.Max(0, run.Round - 1);

    // For programs: the same value as the text, in its parts.
    private static object? HoldOf(Hold? hold) => hold is null ? null : new
    {
        hold.Kind, hold.Text, sites = hold.Sites.Select(static site => site.Site), hold.Clients, hold.ClientCount,
        have = hold.Of > 0 ? hold.Have : (int?)null, of = hold.Of > 0 ? hold.Of : (int?)null, need = hold.Need > 0 ? hold.Need : (int?)null,
        seconds = hold.For?.TotalSeconds, secondsLeft = hold.Left?.TotalSeconds,
    };
}
