using System.CommandLine;
using FedRLora.Client.Rendering;
using FedRLora.ControlPlane.Views;
using FedRLora.Training;
using FedRLora.Training.Adapters;

namespace FedRLora.Client.Commands;

/// <summary><c>fedrlora merge --model FOLDER --adapter FOLDER --out FOLDER</c>: a whole model with the adapter in its weights.</summary>
internal static class MergeCommand
{
    public static Command Create()
    {
        var model = SharedOptions.Model();
        model.Required = true;
        var adapter = SharedOptions.Adapter();
        (adapter.Required, adapter.Description) = (true, "An adapter folder in PEFT's layout");
        var (storage, otherBase) = (SharedOptions.Storage(), SharedOptions.AllowOtherBase());
        var target = new Option<string>("--out") { Description = "The new model folder; must not exist", Required = true };
        var command = new Command("merge", "Write a model folder with an adapter added to its weights")
        {
            model, adapter, storage, otherBase, target,
        };
        command.SetAction(async (parsed, cancellationToken) =>
        {
            var (from, to) = (parsed.GetRequiredValue(model)!, parsed.GetRequiredValue(target));
            var options = new BaseOptions { Storage = parsed.GetValue(storage), AllowOtherBase = parsed.GetValue(otherBase) };
            var (changed, notes) = await Task.Run(
                () => MergedModel.Write(from, parsed.GetRequiredValue(adapter)!, to, options, cancellationToken), cancellationToken);
            var screen = Screen.Of(parsed, json: false);
            screen.Warn(notes);
            await screen.Output.WriteLineAsync($"{to}: {from} with {Words.Count(changed, "weight")} changed");
            return ExitCode.Done;
        });
        return command;
    }
}
