using System.CommandLine;
using System.Globalization;
using FedRLora.Client.Local;
using FedRLora.Client.Rendering;

namespace FedRLora.Client.Commands;

/// <summary><c>fedrlora export runs/NAME-N</c>: adapters of the last committed round, also of a run that is not finished.</summary>
internal static class ExportCommand
{
    public static Command Create()
    {
        var folder = new Argument<string>("run") { Description = "A folder that fedrlora simulate made" };
        var target = new Option<string?>("--out") { Description = "Where the adapters go, one folder per client; by default RUN/adapters" };
        var command = new Command("export", "Write every client's adapter of the last committed round in PEFT's layout") { folder, target };
        command.SetAction(async (parsed, cancellationToken) =>
        {
            var run = RunDirectory.Open(parsed.GetRequiredValue(folder));
            var adapters = parsed.GetValue(target) ?? run.Adapters;
            var committed = await CommittedRun.OpenAsync(run, cancellationToken);
            var written = await committed.ExportAsync(adapters, cancellationToken);
            await parsed.InvocationConfiguration.Output.WriteLineAsync(string.Create(
                CultureInfo.InvariantCulture, $"{Words.Count(written, "adapter")} of round {committed.Manifest.Round}/{committed.Plan.Strategy.Rounds}: {adapters}/CLIENT, in PEFT's layout"));
            return ExitCode.Done;
        });
        return command;
    }
}
