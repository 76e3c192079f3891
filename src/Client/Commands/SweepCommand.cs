using System.CommandLine;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Plans.Reading;
using FedRLora.Client.Control;
using FedRLora.Client.Local;
using FedRLora.Client.Rendering;
using FedRLora.ControlPlane.Views;

namespace FedRLora.Client.Commands;

/// <summary><c>fedrlora sweep plan.yaml --over adapter.rank=4,8</c>: a plan with several values of keys, run and compared.</summary>
internal static class SweepCommand
{
    public static Command Create()
    {
        var plan = new Argument<string?>("plan") { Description = "The plan file (YAML)", Arity = ArgumentArity.ZeroOrOne };
        var over = new Option<string[]>("--over")
        {
            Description = "A key of the plan with its values, as adapter.rank=4,8; repeat it, and every combination is run",
            HelpName = "KEY=A,B",
        };
        var arm = new Option<string[]>("--arm")
        {
            Description = "A variant of the plan under a name, as local={adapter.method: lora, sharing: none}; repeat it. Every arm is run "
                + "with every combination of values",
            HelpName = "NAME={KEY: VALUE}",
        };
        var seeds = new Option<string?>("--seeds") { Description = "Seeds of every combination: short for --over seed=", HelpName = "A,B" };
        var set = SharedOptions.Set();
        var resume = new Option<string?>("--resume")
        {
            Description = "Instead of a plan: the folder of a sweep to continue", HelpName = "FOLDER",
        };
        var folder = new Option<string?>("--out") { Description = "The sweep's folder; by default the next free runs/NAME-sweep-N" };
        var id = new Option<string?>("--run")
        {
            Description = "With --server: what the runs' names begin with; by default the plan's name",
        };
        var federatedOnly = new Option<bool>("--no-local-only")
        {
            Description = "Leave out the local-only reference runs that the plan asks for",
        };
        var (maySend, work, json) = (MaySend.Create(), new WorkOptions(), SharedOptions.Json());
        var command = new Command("sweep", "Run a plan with several values of its keys, one run after another, and compare them")
        {
            plan, arm, over, seeds, set, resume, folder, id, federatedOnly, maySend, work.Lanes, work.Devices, json,
        };
        var target = ControlTarget.AddTo(command);
        command.SetAction(async (parsed, cancellationToken) =>
        {
            var screen = Screen.Of(parsed, parsed.GetValue(json));
            var onSilos = target.IsMeant(parsed);
            if (!onSilos && parsed.GetValue(id) is not null)
                throw new BadInputException("--run goes with --server; a folder is named with --out.");
            if (onSilos && (parsed.GetValue(resume) ?? parsed.GetValue(folder)) is not null)
                throw new BadInputException("--out and --resume are of folders; on silos the same command again goes on with its runs.");
            var place = onSilos ? null : work.Read(parsed); // before a folder is made
            SweepFolder sweep;
            if (parsed.GetValue(resume) is { } begun)
            {
                if (parsed.GetValue(plan) is not null || parsed.GetResult(arm) is not null
                    || parsed.GetResult(over) is not null || parsed.GetResult(seeds) is not null
                    || parsed.GetResult(set) is not null || parsed.GetValue(folder) is not null || parsed.GetValue(federatedOnly))
                    throw new BadInputException("--resume: the folder says what is swept; give nothing else of it");
                sweep = SweepFolder.Open(begun);
                await RequireAsync(sweep.Plan, sweep.Runs, sweep.Record, cancellationToken);
            }
            else
            {
                var file = PlanFile.Open(parsed.GetValue(plan) ?? throw new BadInputException("sweep: give a plan, or --resume FOLDER"))
                    .With(parsed.GetValue(set) ?? []);
                List<SweptKey> keys = [.. (parsed.GetValue(over) ?? []).Select(static one => SweptKey.Parse("--over", one))];
                if (parsed.GetValue(seeds) is { } list) keys.Add(SweptKey.Parse("--seeds", $"seed={list}"));
                List<SweptArm>? arms = parsed.GetValue(arm) is { Length: > 0 } given
                    ? [.. given.Select(static one => SweptArm.Parse("--arm", one))] : null;
                if (arms is not null) SweptArm.RequireDistinct("--arm", arms);
                // What is wrong with --set is told as such; in an arm's plan nothing is known of it.
                if (arms is not null) Refuse([.. file.Read().Problems.Select(static problem => $"{problem}")]);
                if (keys.Count == 0 && arms is null)
                    throw new BadInputException("sweep: give values to run with, as in --over adapter.rank=4,8");
                if (onSilos)
                {
                    SharedOptions.RefuseOfThisProcess(parsed, work, dashboard: null);
                    MaySend.Refuse(parsed, maySend);
                    var plans = PlansOf(file, SweptRun.Of(keys, arms));
                    var runs = SiloSweep.Named(parsed.GetValue(id) ?? plans[0].Name, keys, arms);
                    using var silos = target.Open(parsed);
                    return await new SiloSweep(silos, screen, !parsed.GetValue(federatedOnly))
                        .RunAsync(runs, run => SweepFolder.PlanOf(file, run), cancellationToken);
                }

                var record = new SweepRecord(Json.Schema, file.Folder, !parsed.GetValue(federatedOnly), keys, Best: null, [], arms);
                var first = await RequireAsync(file, SweptRun.Of(keys, arms), record, cancellationToken);
                sweep = SweepFolder.CreateOrTakeUp(
                    parsed.GetValue(folder), file, first.Name, first.Store.Mode ?? StoreMode.Private, record);
            }

            var limits = MaySend.Require(parsed, maySend, sweep.PlanOf(sweep.Runs[0]).Require());
            foreach (var run in sweep.Runs.Skip(1)) _ = MaySend.Require(parsed, maySend, sweep.PlanOf(run).Require());
            if (screen.Mode != ScreenMode.Json)
                await screen.Output.WriteLineAsync($"{Words.Count(sweep.Runs.Count, "run")}, in {sweep.Path}");
            using var local = new LocalSweep(sweep, screen, limits, place!);
            return await local.RunAsync(cancellationToken);
        });
        return command;
    }

    // Everything that is wrong with any run, before the first begins: once where it is wrong with several.
    private static async Task<FederationPlan> RequireAsync(
        PlanFile file, IReadOnlyList<SweptRun> runs, SweepRecord record, CancellationToken cancellationToken)
    {
        var (plans, problems) = (PlansOf(file, runs), new List<string>());
        foreach (var plan in plans)
            problems.AddRange(await SimulateCommand.ProblemsOfRunAsync(plan, record.Root, record.LocalOnly, cancellationToken));
        Refuse(problems);
        return plans[0];
    }

    // The plans of all runs, which are right and differ.
    private static List<FederationPlan> PlansOf(PlanFile file, IReadOnlyList<SweptRun> runs)
    {
        var problems = new List<string>();
        List<FederationPlan> plans = [.. runs.Select(run => PlanOf(file, run, problems)).OfType<FederationPlan>()];
        Refuse(problems);
        Refuse([.. plans.Zip(runs)
            .GroupBy(static one => PlanText.Of(one.First), static one => one.Second.Name, StringComparer.Ordinal)
            .Where(static same => same.Count() > 1)
            .Select(static same => $"{string.Join(" and ", same)} are one and the same plan; leave out what is given twice")]);
        return plans;
    }

    private static FederationPlan? PlanOf(PlanFile file, SweptRun run, List<string> problems)
    {
        var read = SweepFolder.PlanOf(file, run).Read();
        problems.AddRange(read.Problems.Select(static problem => $"{problem}"));
        return read.Plan;
    }

    private static void Refuse(List<string> problems)
    {
        if (problems.Count > 0) throw new BadInputException(string.Join('\n', problems.Distinct(StringComparer.Ordinal)));
    }
}
