using System.CommandLine;
using FedRLora.Abstractions;
using FedRLora.Client.Control;
using FedRLora.Client.Rendering;
using FedRLora.ControlPlane.Access;
using FedRLora.ControlPlane.Http;

namespace FedRLora.Client.Commands;

/// <summary><c>fedrlora submit plan.yaml</c>: begins a run on silos that are up.</summary>
internal static class SubmitCommand
{
    public static Command Create()
    {
        var plan = new Argument<string>("plan")
        {
            Description = "The plan file (YAML); its model and data paths start from each silo's --root",
        };
        var run = new Option<string?>("--run") { Description = "The run's id; by default the plan's name" };
        var federatedOnly = new Option<bool>("--no-local-only")
        {
            Description = "Leave out the local-only reference, although the plan asks for it",
        };
        var set = SharedOptions.Set();
        var command = new Command("submit", "Begin a run on running silos") { plan, run, set, federatedOnly };
        var target = ControlTarget.AddTo(command);
        command.SetAction(async (parsed, cancellationToken) =>
        {
            var file = PlanFile.Open(parsed.GetRequiredValue(plan)).With(parsed.GetValue(set) ?? []);
            var read = file.Require();
            var name = read.Name;
            var id = Identifiers.Check("run", parsed.GetValue(run) ?? name);
            using var silos = target.Open(parsed);
            var begun = await silos.SteerAsync(
                Routes.Submit.Pattern, new SubmitBody(file.Yaml, id, LocalOnly: !parsed.GetValue(federatedOnly)), cancellationToken);
            await parsed.InvocationConfiguration.Output.WriteLineAsync(
                $"{id} is running; follow it with: "
                + $"{target.Line(parsed, parsed.GetValue(federatedOnly) ? ["watch", id, "--no-local-only"] : ["watch", id])}");
            foreach (var note in PlanNotes.Of(read)) await parsed.InvocationConfiguration.Error.WriteLineAsync($"warning: {note}");
            ControlTarget.Warn(parsed, begun);
            return ExitCode.Done;
        });
        return command;
    }
}
