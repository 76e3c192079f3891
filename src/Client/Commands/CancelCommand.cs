using System.CommandLine;
using FedRLora.Abstractions;
using FedRLora.Client.Control;
using FedRLora.ControlPlane.Http;

namespace FedRLora.Client.Commands;

/// <summary><c>fedrlora cancel RUN</c>: stops a run; committed rounds are kept.</summary>
internal static class CancelCommand
{
    public static Command Create()
    {
        var run = new Argument<string>("run") { Description = "The run's id" };
        var command = new Command("cancel", "Stop a run on running silos; what is committed is kept") { run };
        var target = ControlTarget.AddTo(command);
        command.SetAction(async (parsed, cancellationToken) =>
        {
            var id = Identifiers.Check("run", parsed.GetRequiredValue(run));
            using var silos = target.Open(parsed);
            var cancelled = await silos.SteerAsync($"{ControlClient.Run(id)}/cancel", new NothingSaid(), cancellationToken);
            await parsed.InvocationConfiguration.Output.WriteLineAsync($"{id} is {cancelled.Status}; what is committed is kept");
            return ExitCode.Done;
        });
        return command;
    }
}
