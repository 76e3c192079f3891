using System.CommandLine;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Client.Control;
using FedRLora.Client.Rendering;
using FedRLora.ControlPlane.Views;

namespace FedRLora.Client.Commands;

/// <summary><c>fedrlora watch RUN</c>: follows a run to its end.</summary>
internal static class WatchCommand
{
    public static Command Create()
    {
        var run = new Argument<string>("run") { Description = "The run's id" };
        var json = SharedOptions.Json();
        var command = new Command("watch", "Follow a run on running silos, round by round") { run, json };
        var target = ControlTarget.AddTo(command);
        command.SetAction(async (parsed, cancellationToken) =>
        {
            var id = Identifiers.Check("run", parsed.GetRequiredValue(run));
            var screen = Screen.Of(parsed, parsed.GetValue(json));
            var again = $"Follow it again with: {target.Line(parsed, parsed.GetValue(json) ? ["watch", id, "--json"] : ["watch", id])}";
            var stopped = $"Stopped watching; run {id} goes on. {again}";
            Interruption.LastWord = stopped;
            try
            {
                using var silos = target.Open(parsed);
                var last = await FollowAsync(silos, id, screen, target.LineNamingSilos(parsed, "resume", id), cancellationToken);
                return last is { Status: JobStatus.Finished } ? ExitCode.Done : ExitCode.Failed;
            }
            catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
            {
                await screen.Error.WriteLineAsync(stopped);
                return ExitCode.Interrupted;
            }
            catch (NoAnswerException e) when (!e.WasNotSent)
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

    private static async Task<RunSnapshot?> FollowAsync(
        ControlClient silos, string run, Screen screen, string wayOn, CancellationToken cancellationToken)
    {
        var plan = (await silos.PlanAsync(run, cancellationToken)).Require();
        var reporter = new RoundReporter(screen, plan) { WhenPaused = $"Continue it with: {wayOn}" };
        var follower = new RunFollower(silos, run, screen.Error.WriteLine);
        var last = await reporter.FollowAsync(follower.SnapshotsAsync(() => reporter.LastRound, cancellationToken), cancellationToken);
        if (screen.Mode == ScreenMode.Json || reporter.Rounds.Count == 0) return last; // a program has all of it in the rounds
        if (last is { Status: JobStatus.Finished }) screen.Show(FinalTable.Of(plan, reporter.Rounds, localOnly: null), folder: null);
        await screen.Output.WriteLineAsync($"digest: {reporter.Rounds[^1].ManifestSha256}");
        return last;
    }
}
