using System.CommandLine;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Client.Cluster;
using FedRLora.Client.Local;
using FedRLora.Client.Rendering;

namespace FedRLora.Client.Commands;

/// <summary><c>fedrlora watch RUN</c>: follows a run to its end.</summary>
internal static class WatchCommand
{
    public static Command Create()
    {
        var run = new Argument<string>("run") { Description = "The run's id" };
        var gateways = ClusterConnection.Gateways();
        var json = SharedOptions.Json();
        var command = new Command("watch", "Follow a run on running silos, round by round") { run, gateways, json };
        command.SetAction(async (parsed, cancellationToken) =>
        {
            var id = Identifiers.Check("run", parsed.GetRequiredValue(run));
            await using var cluster = await ClusterConnection.OpenAsync(parsed.GetRequiredValue(gateways), cancellationToken);
            var reporter = new RoundReporter(Screen.Of(parsed, parsed.GetValue(json)), plan: null);
            var last = await reporter.FollowAsync(cluster.Coordinator(id).SnapshotsAsync(() => reporter.LastRound, TimeSpan.FromMilliseconds(250), cancellationToken), cancellationToken)
                ?? throw new BadInputException($"There is no run {id}; fedrlora runs lists them.");
            if (!parsed.GetValue(json) && reporter.Rounds.Count > 0) await parsed.InvocationConfiguration.Output.WriteLineAsync($"digest {reporter.Rounds[^1].ManifestSha256}");
            return last.Status == JobStatus.Finished ? ExitCode.Done : ExitCode.Failed;
        });
        return command;
    }
}
