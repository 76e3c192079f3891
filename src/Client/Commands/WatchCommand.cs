using System.CommandLine;
using System.Diagnostics;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Client.Control;
using FedRLora.Client.Rendering;
using FedRLora.ControlPlane.Access;
using FedRLora.ControlPlane.Views;

namespace FedRLora.Client.Commands;

/// <summary><c>fedrlora watch RUN</c>: follows a run to its end.</summary>
internal static class WatchCommand
{
    public static Command Create()
    {
        var run = new Argument<string>("run") { Description = "The run's id" };
        var json = SharedOptions.Json();
        var alone = new Option<bool>("--no-local-only")
        {
            Description = "Do not go on with the local-only reference when the run is finished",
        };
        var command = new Command("watch", "Follow a run on running silos, round by round") { run, alone, json };
        var target = ControlTarget.AddTo(command);
        command.SetAction(async (parsed, cancellationToken) =>
        {
            var id = Identifiers.Check("run", parsed.GetRequiredValue(run));
            var screen = Screen.Of(parsed, parsed.GetValue(json));
            string[] words =
            [
                "watch", id, .. parsed.GetValue(alone) ? ["--no-local-only"] : (string[])[],
                .. parsed.GetValue(json) ? ["--json"] : (string[])[],
            ];
            var again = $"Follow it again with: {target.Line(parsed, words)}";
            var stopped = $"Stopped watching; run {id} goes on. {again}";
            Interruption.LastWord = stopped;
            try
            {
                using var silos = target.Open(parsed);
                var watching = new Watching(silos, screen, name => target.LineNamingSilos(parsed, "resume", name));
                var last = await watching.FollowAsync(id, withReference: !parsed.GetValue(alone), cancellationToken);
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

    /// <param name="silos">The silos.</param>
    /// <param name="screen">Where to.</param>
    /// <param name="resume">The command that resumes a run.</param>
    private sealed class Watching(ControlClient silos, Screen screen, Func<string, string> resume)
    {
        private static readonly TimeSpan BeginsWithin = TimeSpan.FromSeconds(15), AskEvery = TimeSpan.FromMilliseconds(250);

        /// <summary>Shows a run, its reference where there is one, and the outcome; returns how the last of them ended.</summary>
        public async Task<RunSnapshot?> FollowAsync(string run, bool withReference, CancellationToken cancellationToken)
        {
            var (plan, rounds, last) = await FollowAsync(run, cancellationToken);
            if (screen.Mode == ScreenMode.Json)
            {
                if (last is not null) await screen.Output.WriteLineAsync(EndOf(last, rounds));
                return last; // a program has all else in the rounds
            }

            if (rounds.Count == 0) return last;
            var sha256 = rounds[^1].ManifestSha256;
            if (last is { Status: JobStatus.Finished })
            {
                IReadOnlyList<RoundSummary>? alone = null;
                IReadOnlyDictionary<string, ScoreComparison>? versus = null;
                var isFork = rounds[0].Manifest.Previous is not null;
                if (withReference && !isFork && LocalOnlyRun.IsAskedBy(plan)
                    && await HasBegunAsync(run, LocalOnlyRun.Of(run), cancellationToken))
                {
                    await screen.Output.WriteLineAsync("The same clients with the same budget and nothing shared:");
                    (_, alone, last) = await FollowAsync(LocalOnlyRun.Of(run), cancellationToken);
                    versus = await VersusAsync(run, cancellationToken);
                }

                screen.Show(FinalTable.Of(plan, rounds, alone is { Count: > 0 } ? alone : null, versus), folder: null);
            }

            await screen.Output.WriteLineAsync($"digest: {sha256}");
            return last;
        }

        private static string EndOf(RunSnapshot last, IReadOnlyList<RoundSummary> rounds) => Json.Line(new
        {
            End = new
            {
                last.Run, last.Status, last.Reason, Committed = rounds.Count == 0 ? (int?)null : rounds[^1].Manifest.Round, last.Rounds,
                Sha256 = rounds.Count == 0 ? null : rounds[^1].ManifestSha256,
            },
        });

        private async Task<(FederationPlan Plan, IReadOnlyList<RoundSummary> Rounds, RunSnapshot? Last)> FollowAsync(
            string run, CancellationToken cancellationToken)
        {
            var plan = (await silos.PlanAsync(run, cancellationToken)).Require();
            var reporter = new RoundReporter(screen, plan) { WhenPaused = $"Continue it with: {resume(run)}" };
            var follower = new RunFollower(silos, run, screen.Error.WriteLine);
            var last = await reporter.FollowAsync(follower.SnapshotsAsync(() => reporter.LastRound, cancellationToken), cancellationToken);
            return (plan, reporter.Rounds, last);
        }

        // The run begins it when everything else of its end is done.
        private async Task<bool> HasBegunAsync(string run, string reference, CancellationToken cancellationToken)
        {
            if ((await LocalOnlyAsync(run, cancellationToken)).WasLeftOut)
            {
                screen.Note($"{reference}, the local-only reference, was left out when the run was begun");
                return false;
            }

            var since = Stopwatch.GetTimestamp();
            while ((await silos.GetAsync<RunList>(Routes.ListRuns.Pattern, cancellationToken)).Runs.All(one => one.Run != reference))
            {
                if (Stopwatch.GetElapsedTime(since) > BeginsWithin)
                {
                    screen.Note($"{reference}, the local-only reference, has not begun; was it left out?");
                    return false;
                }

                await Task.Delay(AskEvery, cancellationToken);
            }

            return true;
        }

        private async Task<IReadOnlyDictionary<string, ScoreComparison>> VersusAsync(string run, CancellationToken cancellationToken)
        {
            var compared = await LocalOnlyAsync(run, cancellationToken);
            screen.Warn(compared.Missing.Select(ControlErrors.Line));
            return compared.Versus;
        }

        private Task<LocalOnlyView> LocalOnlyAsync(string run, CancellationToken cancellationToken) =>
            silos.GetAsync<LocalOnlyView>($"{ControlClient.Run(run)}/local-only", cancellationToken, silos.Patience.Call);
    }
}
