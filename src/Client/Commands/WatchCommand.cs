using System.CommandLine;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
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
            await using var silos = await cluster.OpenAsync(parsed, cancellationToken);
            var reporter = new RoundReporter(Screen.Of(parsed, parsed.GetValue(json)), plan: null);
            var last = await reporter.FollowAsync(silos.Coordinator(id).SnapshotsAsync(() => reporter.LastRound, PollEvery, Patience, cancellationToken), cancellationToken)
                ?? throw new BadInputException($"There is no run {id}; {cluster.Line(parsed, "runs")} lists them.");
            if (!parsed.GetValue(json) && reporter.Rounds.Count > 0)
                await parsed.InvocationConfiguration.Output.WriteLineAsync($"digest: {reporter.Rounds[^1].ManifestSha256}");
            return last.Status == JobStatus.Finished ? ExitCode.Done : ExitCode.Failed;
        });
        return command;
    }
}
