using System.CommandLine;
using FedRLora.Abstractions;
using FedRLora.Client.Control;
using FedRLora.Client.Local;
using FedRLora.Client.Rendering;
using FedRLora.ControlPlane.Http;
using FedRLora.ControlPlane.Views;

namespace FedRLora.Client.Commands;

/// <summary>
/// <c>fedrlora extend runs/NAME-N --rounds 20</c>, or a run's id with <c>--server</c>: more rounds for a run.
/// </summary>
internal static class ExtendCommand
{
    public static Command Create()
    {
        var rounds = SharedOptions.Number("--rounds", "Rounds of the whole run, more than it has", 1, 100_000);
        rounds.Required = true;
        var dataChange = SharedOptions.AllowDataChange();
        var maySend = MaySend.Create();
        var (work, dashboard) = (new WorkOptions(), SharedOptions.Dashboard());
        var (mlflow, json) = (SharedOptions.MlflowOrNone(), SharedOptions.Json());
        var command = new Command("extend",
            "Give a run more rounds and continue it; a learning rate schedule is stretched over all of them")
        {
            rounds, dataChange, maySend, work.Lanes, work.Devices, dashboard, mlflow, json,
        };
        var run = RunTarget.AddTo(command);
        command.SetAction(async (parsed, cancellationToken) =>
        {
            var (name, count) = (run.Given(parsed), parsed.GetValue(rounds)!.Value);
            if (!run.IsOnSilos(parsed))
            {
                using var folder = run.FolderToRun(parsed);
                folder.RequireFewer(count);
                var screen = Screen.Of(parsed, parsed.GetValue(json));
                var file = folder.RequirePlan();
                var limits = MaySend.Require(parsed, maySend, file.Require());
                var local = new LocalRun(folder, screen, limits, work.Read(parsed), parsed.GetValue(dashboard));
                await local.RequireWholeAsync(file, anyEngine: false, cancellationToken);
                await LocalInputsCheck.RequireAsync(folder, count, parsed.GetValue(dataChange), screen, cancellationToken);
                folder.Extend(count);
                folder.SendTo(parsed.GetValue(mlflow));
                return await local.RunAsync(resume: true, allowEngineChange: false, cancellationToken);
            }

            SharedOptions.RefuseOfThisProcess(parsed, work, dashboard);
            SharedOptions.RefuseMlflow(parsed, mlflow);
            MaySend.Refuse(parsed, maySend);
            name = run.Name(parsed);
            using var silos = run.Silos.Open(parsed);
            var extended = await silos.SteerAsync(
                $"{ControlClient.Run(name)}/extend", new ExtendBody(count, parsed.GetValue(dataChange)), cancellationToken);
            await parsed.InvocationConfiguration.Output.WriteLineAsync(
                $"{name} has {count} rounds; follow it with: {run.Silos.Line(parsed, "watch", name)}");
            ControlTarget.Warn(parsed, extended);
            return ExitCode.Done;
        });
        return command;
    }
}
