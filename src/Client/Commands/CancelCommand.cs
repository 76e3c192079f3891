using System.CommandLine;
using FedRLora.Abstractions;
using FedRLora.Client.Cluster;

namespace FedRLora.Client.Commands;

/// <summary><c>fedrlora cancel RUN</c>: stops a run; committed rounds are kept.</summary>
internal static class CancelCommand
{
    public static Command Create()
    {
        var run = new Argument<string>("run") { Description = "The run's id" };
        var command = new Command("cancel", "Stop a run on running silos; what is committed is kept") { run };
        var cluster = ClusterTarget.AddTo(command);
        command.SetAction(async (parsed, cancellationToken) =>
        {
            var id = Identifiers.Check("run", parsed.GetRequiredValue(run));
            await using var silos = await cluster.OpenAsync(parsed, cancellationToken);
            await silos.Coordinator(id).CancelAsync(cancellationToken);
            return ExitCode.Done;
        });
        return command;
    }
}
