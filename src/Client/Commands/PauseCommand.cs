using System.CommandLine;
using FedRLora.Abstractions;
using FedRLora.Client.Cluster;

namespace FedRLora.Client.Commands;

/// <summary><c>fedrlora pause RUN</c>: stops a run until it is resumed; what has been reported is kept.</summary>
internal static class PauseCommand
{
    public static Command Create()
    {
        var run = new Argument<string>("run") { Description = "The run's id" };
        var command = new Command("pause", "Stop a run on running silos until it is resumed") { run };
        var cluster = ClusterTarget.AddTo(command);
        command.SetAction(async (parsed, cancellationToken) =>
        {
            var id = Identifiers.Check("run", parsed.GetRequiredValue(run));
            await using var silos = await cluster.OpenAsync(parsed, cancellationToken);
            await silos.Coordinator(id).PauseAsync(cancellationToken);
            await parsed.InvocationConfiguration.Output.WriteLineAsync(
                $"{id} is paused; continue it with: {cluster.LineNamingSilos(parsed, "resume", id)}");
            return ExitCode.Done;
        });
        return command;
    }
}
