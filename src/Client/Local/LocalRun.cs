using FedRLora.Abstractions;
using FedRLora.Abstractions.Grains;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Client.Rendering;
using FedRLora.Client.Report;
using FedRLora.Client.RunFolder;

namespace FedRLora.Client.Local;

/// <summary>Runs, or continues, the jobs of a run folder on an embedded silo and writes what a reader wants to see.</summary>
internal sealed class LocalRun(RunDirectory run, Screen screen)
{
    private static readonly TimeSpan PollEvery = TimeSpan.FromMilliseconds(100);

    /// <summary>The exit code.</summary>
    public async Task<int> RunAsync(bool resume, bool allowEngineChange, CancellationToken cancellationToken)
    {
        var file = PlanFile.Open(run.PlanPath);
        var plan = file.Require();
        await using var silo = await EmbeddedSilo.StartAsync(run, cancellationToken);
        try
        {
            var federated = await FollowAsync(silo, plan.Name, file.Yaml, plan, resume, allowEngineChange, cancellationToken);
            var localOnly = run.Record.LocalOnly && federated.Status == JobStatus.Finished
                ? await LocalOnlyAsync(silo, file, resume, allowEngineChange, cancellationToken)
                : null;
            Write(plan, file.Yaml, federated.Rounds, localOnly?.Rounds);
            if (federated.Status != JobStatus.Finished) return ExitCode.Failed;
            Summarize(plan, federated.Rounds, localOnly?.Rounds, await ExportAsync(plan, cancellationToken));
            return localOnly is null or { Status: JobStatus.Finished } ? ExitCode.Done : ExitCode.Failed;
        }
        catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
        {
            await screen.Error.WriteLineAsync($"Stopped; what is committed is kept. Continue with: fedrlora resume {run.Path}");
            return ExitCode.Interrupted;
        }
    }

    private sealed record Followed(JobStatus Status, IReadOnlyList<RoundSummary> Rounds);

    private Task<Followed> LocalOnlyAsync(EmbeddedSilo silo, PlanFile file, bool resume, bool allowEngineChange, CancellationToken cancellationToken)
    {
        var yaml = file.With("sharing", "none").Yaml;
        var plan = PlanReader.Require(yaml, run.PlanPath);
        if (screen.Mode != ScreenMode.Json) screen.Output.WriteLine("The same clients with the same budget and nothing shared:");
        return FollowAsync(silo, plan.Name + ".local-only", yaml, plan, resume, allowEngineChange, cancellationToken);
    }

    private async Task<Followed> FollowAsync(EmbeddedSilo silo, string job, string yaml, FederationPlan plan, bool resume, bool allowEngineChange, CancellationToken cancellationToken)
    {
        var coordinator = silo.Grains.GetGrain<ICoordinatorGrain>(job);
        if (resume && await coordinator.GetProgressAsync(int.MaxValue - 1, cancellationToken) is not null) await coordinator.ResumeAsync(allowEngineChange, cancellationToken);
        else await coordinator.SubmitAsync(yaml, cancellationToken);
        var reporter = new RoundReporter(screen, plan);
        var last = await reporter.FollowAsync(coordinator.SnapshotsAsync(() => reporter.LastRound, PollEvery, cancellationToken), cancellationToken);
        return new Followed(last?.Status ?? JobStatus.Failed, reporter.Rounds);
    }

    // Where the adapters are, or why not.
    private async Task<string> ExportAsync(FederationPlan plan, CancellationToken cancellationToken)
    {
        if (!plan.Checkpoints.Export) return $"not asked for; fedrlora export {run.Path} writes them";
        try
        {
            await (await CommittedRun.OpenAsync(run, cancellationToken)).ExportAsync(run.Adapters, cancellationToken);
            return $"{run.Adapters}/CLIENT, in PEFT's layout";
        }
        catch (BadInputException e)
        {
            return $"none: {e.Message}";
        }
    }

    private void Write(FederationPlan plan, string yaml, IReadOnlyList<RoundSummary> federated, IReadOnlyList<RoundSummary>? localOnly)
    {
        MetricsFiles.Write(run.Path, plan, federated);
        if (localOnly is not null) MetricsFiles.Write(Directory.CreateDirectory(Path.Combine(run.Path, "local-only")).FullName, plan, localOnly);
        HtmlReport.Write(Path.Combine(run.Path, "report.html"), plan, federated, localOnly, yaml);
    }

    private void Summarize(FederationPlan plan, IReadOnlyList<RoundSummary> federated, IReadOnlyList<RoundSummary>? localOnly, string adapters)
    {
        screen.Show(FinalTable.Of(plan, federated, localOnly), run.Path);
        if (screen.Mode == ScreenMode.Json) return;
        screen.Output.WriteLine($"digest: {federated[^1].ManifestSha256}");
        screen.Output.WriteLine($"report: {Path.Combine(run.Path, "report.html")}");
        screen.Output.WriteLine($"adapters: {adapters}");
    }
}
