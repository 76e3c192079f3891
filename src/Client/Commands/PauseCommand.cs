using System.CommandLine;
using FedRLora.Abstractions;
using FedRLora.Client.Control;
using FedRLora.ControlPlane.Http;

namespace FedRLora.Client.Commands;

/// <summary><c>fedrlora pause RUN</c>: stops a run until it is resumed; what has been reported is kept.</summary>
internal static class PauseCommand
{
    public static Command Create()
    {
        var run = new Argument<string>("run") { Description = "The run's id" };
        var command = new Command("pause", "Stop a run on running silos until it is resumed") { run };
        var target = ControlTarget.AddTo(command);
        command.SetAction(async (parsed, cancellationToken) =>
        {
            var id = Identifiers.Check("run", parsed.GetRequiredValue(run));
            using var silos = target.Open(parsed);
            await silos.SteerAsync($"{ControlClient.Run(id)}/pause", new NothingSaid(), cancellationToken);
            await parsed.InvocationConfiguration.Output.WriteLineAsync(
                $"{id} is paused; continue it with: {target.LineNamingSilos(parsed, "resume", id)}");
            return ExitCode.Done;
        });
        return command;
    }
}
