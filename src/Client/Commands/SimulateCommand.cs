using System.CommandLine;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Client.Local;
using FedRLora.Client.Rendering;
using FedRLora.ControlPlane.Views;
using FedRLora.Training.Data;

namespace FedRLora.Client.Commands;

/// <summary><c>fedrlora simulate plan.yaml</c>: a whole federation in this process.</summary>
internal static class SimulateCommand
{
    public static Command Create()
    {
        var plan = new Argument<string>("plan") { Description = "The plan file (YAML)" };
        var folder = new Option<string?>("--out") { Description = "The run folder; by default the next free runs/NAME-N" };
        var seed = SharedOptions.Number("--seed", "A seed instead of the plan's", ulong.MinValue, ulong.MaxValue);
        var set = SharedOptions.Set();
        var federatedOnly = new Option<bool>("--no-local-only")
        {
            Description = "Leave out the local-only reference run that the plan asks for",
        };
        var maySend = MaySend.Create();
        var (work, dashboard) = (new WorkOptions(), SharedOptions.Dashboard());
        var mlflow = SharedOptions.Mlflow("Send the run's points to this MLflow server; what it asks for is read from the environment");
        var json = SharedOptions.Json();
        var command = new Command("simulate", "Run a whole federation on this machine")
        {
            plan, folder, seed, set, federatedOnly, maySend, work.Lanes, work.Devices, dashboard, mlflow, json,
        };
        command.SetAction(async (parsed, cancellationToken) =>
        {
            var screen = Screen.Of(parsed, parsed.GetValue(json));
            var assignments = parsed.GetValue(set) ?? [];
            if (parsed.GetValue(seed) is not null && assignments.Any(static one => one.StartsWith("seed=", StringComparison.Ordinal)))
                throw new BadInputException("--seed and --set seed=... both give the seed; give one of them.");
            var file = PlanFile.Open(parsed.GetRequiredValue(plan)).With(assignments);
            var read = file.Require();
            if (parsed.GetValue(seed) is { } other) read = (file = file.WithSeed(other)).Require();
            var localOnly = LocalOnlyRun.IsAskedBy(read) && !parsed.GetValue(federatedOnly);
            if (localOnly) RequireLocalOnly(file, read);
            var limits = MaySend.Require(parsed, maySend, read);
            await RequireDataAsync(read, file.Folder, cancellationToken);
            var place = work.Read(parsed);
            using var run = RunDirectory.Create(parsed.GetValue(folder), file, read, localOnly);
            run.SendTo(parsed.GetValue(mlflow));
            if (screen.Mode != ScreenMode.Json)
                await screen.Output.WriteLineAsync($"{read.Name}: {read.Adapter.Method}, {Words.Count(read.Clients.Count, "client")}, "
                    + $"{Words.Count(read.Strategy.Rounds, "round")}, seed {read.Seed}, in {run.Path}");
            screen.Warn([.. PlanNotes.Of(read, file.Folder)]);
            var local = new LocalRun(run, screen, limits, place, parsed.GetValue(dashboard));
            try
            {
                return await local.RunAsync(resume: false, allowEngineChange: false, cancellationToken);
            }
            catch when (!local.HasBegun)
            {
                run.Discard();
                Interruption.LastWord = null;
                throw;
            }
        });
        return command;
    }

    // What the reference run needs of the plan is known before the first round.
    private static void RequireLocalOnly(PlanFile file, FederationPlan plan)
    {
        _ = file.WithNothingShared();
        LocalOnlyRun.RequireName(plan.Name, $"{file.Path}: name");
    }

    /// <summary>What keeps a run of a plan from beginning, besides the plan, in a line each.</summary>
    internal static async Task<IReadOnlyList<string>> ProblemsOfRunAsync(
        FederationPlan plan, string root, bool localOnly, CancellationToken cancellationToken)
    {
        List<string> problems = [];
        try
        {
            if (localOnly && LocalOnlyRun.IsAskedBy(plan)) LocalOnlyRun.RequireName(plan.Name, "name");
        }
        catch (BadInputException e)
        {
            problems.Add(e.Message);
        }

        return plan.Strategy.Quorum < 1 ? problems : [.. problems, .. await PlanData.ProblemsAsync(plan, root, cancellationToken)];
    }

    // Where every client is needed, a file that one of them cannot use is known before anything starts; else it is that client's failure.
    private static async Task RequireDataAsync(FederationPlan plan, string folder, CancellationToken cancellationToken)
    {
        if (plan.Strategy.Quorum < 1) return;
        var problems = await PlanData.ProblemsAsync(plan, folder, cancellationToken);
        if (problems.Count > 0) throw new BadInputException(string.Join('\n', problems));
    }
}
