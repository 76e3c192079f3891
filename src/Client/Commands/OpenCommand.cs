using System.CommandLine;
using FedRLora.Client.Control;
using FedRLora.ControlPlane.Http;

namespace FedRLora.Client.Commands;

/// <summary><c>fedrlora open</c>: an address that lets one browser in to the page of running silos.</summary>
internal static class OpenCommand
{
    public static Command Create()
    {
        var command = new Command("open", "Print an address that lets one browser in to the page of running silos");
        var target = ControlTarget.AddTo(command);
        command.SetAction(async (parsed, cancellationToken) =>
        {
            using var silos = target.Open(parsed);
            var made = await silos.PostAsync<EntranceMade>("/v1/entrances", new NothingSaid(), silos.Patience.Answer, cancellationToken);
            await parsed.InvocationConfiguration.Output.WriteLineAsync(made.Address);
            return ExitCode.Done;
        });
        return command;
    }
}
