using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using FedRLora.Client.Control;
using FedRLora.Client.Rendering;
using FedRLora.ControlPlane.Access;
using FedRLora.ControlPlane.Views;

namespace FedRLora.Client.Commands;

/// <summary><c>fedrlora runs</c>: every run of the silos' store.</summary>
internal static class RunsCommand
{
    public static Command Create()
    {
        var json = SharedOptions.Json();
        var command = new Command("runs", "List the runs of running silos") { json };
        var target = ControlTarget.AddTo(command);
        command.SetAction(async (parsed, cancellationToken) =>
        {
            using var silos = target.Open(parsed);
            var runs = (await silos.GetAsync<RunList>(Routes.ListRuns.Pattern, cancellationToken)).Runs;
            var output = parsed.InvocationConfiguration.Output;
            if (parsed.GetValue(json))
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
        });
        return command;
    }
}
