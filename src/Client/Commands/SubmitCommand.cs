using System.CommandLine;
using FedRLora.Abstractions;
using FedRLora.Client.Cluster;
using FedRLora.Client.Rendering;

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
        var command = new Command("submit", "Begin a run on running silos") { plan, run };
        var cluster = ClusterTarget.AddTo(command);
        command.SetAction(async (parsed, cancellationToken) =>
        {
            var file = PlanFile.Open(parsed.GetRequiredValue(plan));
            var read = file.Require();
            var name = read.Name;
            var id = Identifiers.Check("run", parsed.GetValue(run) ?? name);
            await using var silos = await cluster.OpenAsync(parsed, cancellationToken);
            await silos.Coordinator(id).SubmitAsync(file.Yaml, cancellationToken);
            await parsed.InvocationConfiguration.Output.WriteLineAsync(
                $"{id} is running; follow it with: {cluster.Line(parsed, "watch", id)}");
            foreach (var note in PlanNotes.Of(read)) await parsed.InvocationConfiguration.Error.WriteLineAsync($"warning: {note}");
            await ClusterTarget.WarnAsync(parsed, silos, id, cancellationToken);
            return ExitCode.Done;
        });
        return command;
    }
}
