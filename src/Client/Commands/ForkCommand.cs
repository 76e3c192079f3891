using System.CommandLine;
using FedRLora.Abstractions;
using FedRLora.Client.Control;
using FedRLora.Client.Local;
using FedRLora.Client.Rendering;
using FedRLora.ControlPlane.Http;
using FedRLora.ControlPlane.Views;

namespace FedRLora.Client.Commands;

/// <summary>
/// <c>fedrlora fork runs/NAME-N --round 4 --set training.learningRate=1e-3</c>, or a run's id with <c>--server</c>: a
/// new run that begins where a round of another ended.
/// </summary>
internal static class ForkCommand
{
    public static Command Create()
    {
        var round = SharedOptions.Number("--round", "The committed round to begin from", 0, 100_000);
        round.Required = true;
        var plan = new Option<string?>("--plan")
        {
            Description = "The new run's plan (YAML); by default the other run's. The content of the model and the adapter stay the same",
        };
        var set = SharedOptions.Set();
        var folder = new Option<string?>("--out") { Description = "The new run's folder; by default the next free runs/NAME-N" };
        var id = new Option<string?>("--run") { Description = "With --server: the new run's id" };
        var dataChange = SharedOptions.AllowDataChange();
        var maySend = MaySend.Create();
        var (work, dashboard) = (new WorkOptions(), SharedOptions.Dashboard());
        var (mlflow, json) = (SharedOptions.MlflowOrNone(), SharedOptions.Json());
        var command = new Command("fork", "Begin a new run, with changed values, where a round of another ended")
        {
            round, plan, set, folder, id, dataChange, maySend, work.Lanes, work.Devices, dashboard, mlflow, json,
        };
        var run = RunTarget.AddTo(command);
        command.SetAction(async (parsed, cancellationToken) =>
        {
            var (name, from) = (run.Given(parsed), parsed.GetValue(round)!.Value);
            if (!run.IsOnSilos(parsed))
            {
                if (parsed.GetValue(id) is not null)
                    throw new BadInputException("--run goes with --server; a new folder is named with --out.");
                var source = run.Folder(parsed);
                if (parsed.GetValue(plan) is null) source.RequireRoot();
                var file = Changed(parsed.GetValue(plan) is { } given ? PlanFile.Open(given) : PlanFile.Open(source.PlanPath),
                    parsed.GetValue(set));
                var root = parsed.GetValue(plan) is null ? source.Record.Root : file.Folder;
                var limits = MaySend.Require(parsed, maySend, file.Require());
                var place = work.Read(parsed);
                using var fork = await LocalFork.CreateAsync(
                    source, from, file, root, parsed.GetValue(folder), parsed.GetValue(dataChange), cancellationToken);
                fork.SendTo(parsed.GetValue(mlflow) ?? source.Record.Mlflow);
                var screen = Screen.Of(parsed, parsed.GetValue(json));
                if (screen.Mode != ScreenMode.Json)
                    await screen.Output.WriteLineAsync($"{fork.Record.Plan}: from round {from} of {name}, in {fork.Path}");
                if (file.Require().Evaluation.LocalOnly)
                    screen.Warn(["a fork runs no local-only reference; its differences are to the base"]);
                var local = new LocalRun(fork, screen, limits, place, parsed.GetValue(dashboard));
                try
                {
                    return await local.RunAsync(resume: false, allowEngineChange: false, cancellationToken);
                }
                catch when (!local.HasBegun)
                {
                    fork.Discard();
                    throw;
                }
            }

            SharedOptions.RefuseOfThisProcess(parsed, work, dashboard);
            SharedOptions.RefuseMlflow(parsed, mlflow);
            MaySend.Refuse(parsed, maySend);
            if (parsed.GetValue(folder) is not null)
                throw new BadInputException("--out: a run on silos has no folder of its own; name it with --run.");
            name = run.Name(parsed);
            var target = Identifiers.Check("--run", parsed.GetValue(id) ?? throw new BadInputException("--run: name the new run."));
            using var silos = run.Silos.Open(parsed);
            var other = parsed.GetValue(plan) is { } path ? Changed(PlanFile.Open(path), parsed.GetValue(set)) : null;
            var forked = await silos.SteerAsync(
                $"{ControlClient.Run(name)}/fork",
                new ForkBody(from, target, other?.Yaml, other is null ? parsed.GetValue(set) : null, parsed.GetValue(dataChange)),
                cancellationToken);
            await parsed.InvocationConfiguration.Output.WriteLineAsync(
                $"{target} is running; follow it with: {run.Silos.Line(parsed, "watch", target)}");
            ControlTarget.Warn(parsed, forked);
            return ExitCode.Done;
        });
        return command;
    }

    private static PlanFile Changed(PlanFile plan, string[]? assignments)
    {
        var changed = plan.With(assignments ?? []);
        _ = changed.Require();
        return changed;
    }
}
