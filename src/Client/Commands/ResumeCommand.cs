using System.CommandLine;
using FedRLora.Abstractions;
using FedRLora.Client.Control;
using FedRLora.Client.Local;
using FedRLora.Client.Rendering;
using FedRLora.ControlPlane.Http;
using FedRLora.ControlPlane.Views;

namespace FedRLora.Client.Commands;

/// <summary>
/// <c>fedrlora resume runs/NAME-N</c>, or a run's id with <c>--server</c>: goes on after the last committed round.
/// </summary>
internal static class ResumeCommand
{
    public static Command Create()
    {
        var change = new Option<bool>("--allow-engine-change")
        {
            Description = "Go on although library, processor or threads differ; the same bits are then not promised",
        };
        var dataChange = SharedOptions.AllowDataChange();
        var maySend = MaySend.Create();
        var (work, dashboard) = (new WorkOptions(), SharedOptions.Dashboard());
        var (mlflow, json) = (SharedOptions.MlflowOrNone(), SharedOptions.Json());
        var command = new Command("resume", "Continue a run that was stopped, cancelled or killed")
        {
            change, dataChange, maySend, work.Lanes, work.Devices, dashboard, mlflow, json,
        };
        var run = RunTarget.AddTo(command);
        command.SetAction(async (parsed, cancellationToken) =>
        {
            var (name, allow) = (run.Given(parsed), parsed.GetValue(change));
            if (!run.IsOnSilos(parsed))
            {
                using var folder = run.FolderToRun(parsed);
                var screen = Screen.Of(parsed, parsed.GetValue(json));
                var file = folder.RequirePlan();
                var limits = MaySend.Require(parsed, maySend, file.Require());
                var local = new LocalRun(folder, screen, limits, work.Read(parsed), parsed.GetValue(dashboard));
                await local.RequireWholeAsync(file, allow, cancellationToken);
                await LocalInputsCheck.RequireAsync(folder, rounds: null, parsed.GetValue(dataChange), screen, cancellationToken);
                folder.SendTo(parsed.GetValue(mlflow));
                return await local.RunAsync(resume: true, allow, cancellationToken);
            }

            SharedOptions.RefuseOfThisProcess(parsed, work, dashboard);
            SharedOptions.RefuseMlflow(parsed, mlflow);
            MaySend.Refuse(parsed, maySend);
            name = run.Name(parsed);
            using var silos = run.Silos.Open(parsed);
            var resumed = await silos.SteerAsync(
                $"{ControlClient.Run(name)}/resume", new ResumeBody(allow, parsed.GetValue(dataChange)), cancellationToken);
            await parsed.InvocationConfiguration.Output.WriteLineAsync(resumed.Status == "finished"
                ? $"{name} is finished; more rounds: {run.Silos.Line(parsed, "extend", name, "--rounds", "N")}"
                : $"{name} goes on; follow it with: {run.Silos.Line(parsed, "watch", name)}");
            ControlTarget.Warn(parsed, resumed);
            return ExitCode.Done;
        });
        return command;
    }
}
