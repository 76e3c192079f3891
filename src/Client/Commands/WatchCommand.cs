using System.CommandLine;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Client.Cluster;
using FedRLora.ControlPlane;
using FedRLora.Client.Rendering;
using FedRLora.ControlPlane.Views;

namespace FedRLora.Client.Commands;

/// <summary><c>fedrlora watch RUN</c>: follows a run to its end.</summary>
internal static class WatchCommand
{
    private static readonly TimeSpan PollEvery = TimeSpan.FromMilliseconds(250);
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(1);

    public static Command Create()
    {
        var run = new Argument<string>("run") { Description = "The run's id" };
        var json = SharedOptions.Json();
        var command = new Command("watch", "Follow a run on running silos, round by round") { run, json };
        var cluster = ClusterTarget.AddTo(command);
        command.SetAction(async (parsed, cancellationToken) =>
        {
            var id = Identifiers.Check("run", parsed.GetRequiredValue(run));
            var screen = Screen.Of(parsed, parsed.GetValue(json));
            var again = $"Follow it again with: {cluster.Line(parsed, parsed.GetValue(json) ? ["watch", id, "--json"] : ["watch", id])}";
            var stopped = $"Stopped watching; run {id} goes on. {again}";
            Interruption.LastWord = stopped;
            try
            {
                await using var silos = await cluster.OpenAsync(parsed, cancellationToken);
                var last = await FollowAsync(silos, id, screen, cluster, parsed, cancellationToken);
                return last is { Status: JobStatus.Finished } ? ExitCode.Done : ExitCode.Failed;
            }
            catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
            {
                await screen.Error.WriteLineAsync(stopped);
                return ExitCode.Interrupted;
            }
            catch (UnansweredException e)
            {
                throw new EnvironmentException($"{e.Message}; run {id} goes on where its silos are up. {again}", e);
            }
            finally
            {
                Interruption.LastWord = null;
            }
        });
        return command;
    }

    private static async Task<JobProgress?> FollowAsync(
        ClusterConnection silos, string run, Screen screen, ClusterTarget cluster, ParseResult parsed, CancellationToken cancellationToken)
    {
        var coordinator = silos.Coordinator(run);
        var yaml = await PatientQuestion.AskAsync(coordinator.GetPlanAsync, Patience, SayUnanswered, cancellationToken: cancellationToken)
            ?? throw new BadInputException($"There is no run {run}; {cluster.Line(parsed, "runs")} lists them.");
        var plan = PlanReader.Require(yaml, run);
        var reporter = new RoundReporter(screen, plan)
        {
            WhenPaused = $"Continue it with: {cluster.LineNamingSilos(parsed, "resume", run)}",
        };
        var last = await reporter.FollowAsync(
            coordinator.SnapshotsAsync(() => reporter.LastRound, PollEvery, Patience, SayUnanswered, cancellationToken: cancellationToken),
            cancellationToken);
        if (screen.Mode == ScreenMode.Json || reporter.Rounds.Count == 0) return last; // a program has all of it in the rounds
        if (last is { Status: JobStatus.Finished }) screen.Show(FinalTable.Of(plan, reporter.Rounds, localOnly: null), folder: null);
        await screen.Output.WriteLineAsync($"digest: {reporter.Rounds[^1].ManifestSha256}");
        return last;

        void SayUnanswered() => screen.Error.WriteLine($"no silo answers for run {run}; asking again for {Patience.TotalSeconds:F0} s");
    }
}
