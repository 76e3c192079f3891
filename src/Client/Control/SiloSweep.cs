using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans.Reading;
using FedRLora.Client.Local;
using FedRLora.Client.Rendering;
using FedRLora.ControlPlane.Access;
using FedRLora.ControlPlane.Http;
using FedRLora.ControlPlane.Views;

namespace FedRLora.Client.Control;

/// <summary>
/// Runs a sweep on silos, one run after another, and compares what came out. What is swept is known by the names of the runs: the same
/// command again finds those that are there.
/// </summary>
/// <param name="silos">The silos.</param>
/// <param name="screen">Where to.</param>
/// <param name="localOnly">Whether runs have their local-only references, which go on beside the next run.</param>
internal sealed class SiloSweep(ControlClient silos, Screen screen, bool localOnly)
{
    /// <summary>Characters of a run's name that its reference's name needs.</summary>
    private static readonly int OfReference = Abstractions.Plans.LocalOnlyRun.Of("").Length;

    /// <summary>The runs of a sweep, each with a name that no other run of the silos should have.</summary>
    /// <exception cref="BadInputException">The name leaves no place for those of its runs.</exception>
    public static IReadOnlyList<(SweptRun Run, string Name)> Named(
        string sweep, IReadOnlyList<SweptKey> keys, IReadOnlyList<SweptArm>? arms)
    {
        const int Least = 8;
        var most = Identifiers.MaxLength - OfReference - Identifiers.Check("--run", sweep).Length - 1;
        if (most < Least) throw new BadInputException($"--run: {sweep} is too long to begin the names of runs; give a shorter one");
        return [.. SweptRun.Of(keys, arms, most).Select(run => (run, $"{sweep}.{run.Name}"))];
    }

    /// <summary>The exit code: 1 where a run did not finish, which does not keep the others from running.</summary>
    public async Task<int> RunAsync(
        IReadOnlyList<(SweptRun Run, string Name)> runs, Func<SweptRun, PlanFile> planOf, CancellationToken cancellationToken)
    {
        var (finished, others, seeds) = (new List<SweepRow>(), new List<string>(), new List<SeedRun>());
        foreach (var ((run, name), index) in runs.Select(static (one, index) => (one, index)))
        {
            await screen.Output.WriteLineAsync(screen.Mode == ScreenMode.Json
                ? Json.Line(new { Run = name, Values = run.Values.ToDictionary(), Arm = run.Arm?.Name })
                : FormattableString.Invariant($"run {index + 1} of {runs.Count}: {name}"));
            try
            {
                if (await FollowAsync(name, planOf(run), cancellationToken) is { } row)
                {
                    finished.Add(row);
                    if (run.Seed is { } seed) seeds.Add(new(run.GroupKey, run.Group, seed, name, row.Metric, row.Score, row.Clients));
                }
                else
                {
                    others.Add(name);
                }
            }
            catch (BadInputException e)
            {
                await screen.Error.WriteLineAsync($"{name}: {e.Message}");
                others.Add(name);
            }
        }

        await CompareAsync(finished, others, seeds, cancellationToken);
        return others.Count == 0 ? ExitCode.Done : ExitCode.Failed;
    }

    // Its outcome; null where it did not finish.
    private async Task<SweepRow?> FollowAsync(string name, PlanFile file, CancellationToken cancellationToken)
    {
        foreach (var line in await BeginAsync(name, file, cancellationToken))
            await screen.Error.WriteLineAsync($"{name} waits: {ControlErrors.Line(line)}");
        var plan = file.Require();
        var reporter = new RoundReporter(screen, plan);
        var follower = new RunFollower(silos, name, screen.Error.WriteLine);
        var last = await reporter.FollowAsync(follower.SnapshotsAsync(() => reporter.LastRound, cancellationToken), cancellationToken);
        if (last?.Status != JobStatus.Finished) return null;
        var mean = FinalTable.Of(plan, reporter.Rounds, localOnly: null).Mean;
        return new()
        {
            Name = name, Folder = "", Values = new Dictionary<string, string>(), Status = FolderStatus.Finished, Metric = mean.Metric,
            Score = mean.Federated, Clients = SweepVerdict.ClientsOf(plan),
        };
    }

    // What it waits for. A run that is there goes on where it stands, if it is this one.
    private async Task<IReadOnlyList<string>> BeginAsync(string name, PlanFile file, CancellationToken cancellationToken)
    {
        var there = (await silos.GetAsync<RunList>(Routes.ListRuns.Pattern, cancellationToken)).Runs.FirstOrDefault(one => one.Run == name);
        if (there is null)
            return (await silos.SteerAsync(Routes.Submit.Pattern, new SubmitBody(file.Yaml, name, localOnly), cancellationToken)).Waits;
        if ((await silos.PlanAsync(name, cancellationToken)).Sha256 != file.Sha256)
            throw new BadInputException("another plan runs there under this name; give the sweep another one with --run.");
        if (there.Status is JobStatus.Finished or JobStatus.Running) return [];
        return (await silos.SteerAsync($"{ControlClient.Run(name)}/resume", new ResumeBody(), cancellationToken)).Waits;
    }

    private async Task CompareAsync(
        List<SweepRow> finished, List<string> others, List<SeedRun> seeds, CancellationToken cancellationToken)
    {
        List<SweepRow> ranked = [.. SweepOutcome.Ranked(finished).Take(Comparison.Most)];
        var comparison = ranked.Count < 2 ? null
            : await silos.CompareAsync([.. ranked.Select(static row => row.Name)], cancellationToken);
        var outcome = comparison is null ? null : new SweepOutcome(comparison, ranked);
        var table = await SeedTable.OfAsync(seeds, names => silos.CompareAsync(names, cancellationToken));
        if (screen.Mode == ScreenMode.Json)
        {
            await screen.Output.WriteLineAsync(
                Json.Line(new { outcome?.Best, Unfinished = others, Comparison = comparison, table?.Groups }));
            return;
        }

        await screen.Output.WriteLineAsync();
        if (outcome is not null) await screen.Output.WriteAsync(outcome.ToText(screen.Width));
        if (table is not null) await screen.Output.WriteAsync($"\n{table.ToText(screen.Width)}\n");
        foreach (var name in others) await screen.Output.WriteLineAsync($"{name}: not finished");
    }
}
