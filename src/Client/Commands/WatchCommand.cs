using System.CommandLine;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Client.Cluster;
using FedRLora.Client.Rendering;

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
            var again = cluster.Hint(parsed, parsed.GetValue(json) ? ["watch", id, "--json"] : ["watch", id]);
            var screen = Screen.Of(parsed, parsed.GetValue(json));
            void SayUnanswered() => screen.Error.WriteLine($"no silo answers for run {id}; asking again for {Patience.TotalSeconds:F0} s");
            try
            {
                await using var silos = await cluster.OpenAsync(parsed, cancellationToken);
                var coordinator = silos.Coordinator(id);
                var yaml = await PatientQuestion.AskAsync(coordinator.GetPlanAsync, Patience, SayUnanswered, cancellationToken)
                    ?? throw new BadInputException($"There is no run {id}; {cluster.Hint(parsed, "runs")} lists them.");
                var reporter = new RoundReporter(screen, PlanReader.Require(yaml, id)) { WhenPaused = $"Continue it with: {cluster.ResumeHint(parsed, id)}" };
                var last = await reporter.FollowAsync(
                    coordinator.SnapshotsAsync(() => reporter.LastRound, PollEvery, Patience, SayUnanswered, cancellationToken), cancellationToken);
                if (!parsed.GetValue(json) && reporter.Rounds.Count > 0) await screen.Output.WriteLineAsync($"digest {reporter.Rounds[^1].ManifestSha256}");
                return last is { Status: JobStatus.Finished } ? ExitCode.Done : ExitCode.Failed;
            }
            catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
            {
                await screen.Error.WriteLineAsync($"Stopped watching; run {id} goes on. Follow it again with: {again}");
                return ExitCode.Interrupted;
            }
            catch (UnansweredException e)
            {
                throw new EnvironmentException($"{e.Message}: run {id} goes on where its silos are up. Follow it again with: {again}", e);
            }
        });
        return command;
    }
}
