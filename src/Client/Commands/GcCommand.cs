using System.CommandLine;
using System.Text.Json;
using FedRLora.Client.Local;
using FedRLora.Client.RunFolder;
using FedRLora.ControlPlane.Views;
using FedRLora.Grains.Upkeep;

namespace FedRLora.Client.Commands;

/// <summary><c>fedrlora gc runs/NAME-N</c>: what a stopped run no longer needs, by the <c>checkpoints</c> of its plan.</summary>
internal static class GcCommand
{
    public static Command Create()
    {
        var folder = new Argument<string>("run") { Description = "A folder that fedrlora simulate made, in which nothing runs" };
        var dry = new Option<bool>("--dry-run") { Description = "Say what would be removed, and remove nothing" };
        var json = SharedOptions.Json();
        var command = new Command("gc", "Remove what a run no longer needs, and say from which rounds it can then be forked no more")
        {
            folder, dry, json,
        };
        command.SetAction(async (parsed, cancellationToken) =>
        {
            using var run = RunDirectory.OpenToRun(parsed.GetRequiredValue(folder));
            run.RequireStore();
            using var jobs = StoredJobs.Of(run);
            var (only, output) = (parsed.GetValue(dry), parsed.InvocationConfiguration.Output);
            foreach (var id in jobs.Ids)
            {
                var collector = new RunCollector(jobs.Job, jobs.Site, id);
                var unneeded = await collector.FindAsync(cancellationToken);
                var before = await collector.ForkableAsync([], cancellationToken);
                var after = await collector.ForkableAsync(unneeded, cancellationToken);
                if (!only) await collector.RemoveAsync(unneeded, cancellationToken);
                var sizeBytes = unneeded.Sum(static blob => blob.SizeBytes);
                if (parsed.GetValue(json))
                {
                    await output.WriteLineAsync(JsonSerializer.Serialize(new
                    {
                        Json.Schema, run = id, removed = !only, blobs = unneeded.Count, sizeBytes,
                        keys = unneeded.Select(static blob => blob.Key), forkable = after, forkableNoMore = before.Except(after),
                    }, Json.Lines));
                    continue;
                }

                foreach (var blob in only ? unneeded : []) await output.WriteLineAsync($"{blob.Key}  {Words.Bytes(blob.SizeBytes)}");
                await output.WriteLineAsync(
                    $"{id}: {(only ? "would remove" : "removed")} {Words.Count(unneeded.Count, "blob")}, {Words.Bytes(sizeBytes)}");
                if (before.Count > after.Count)
                {
                    await output.WriteLineAsync($"{id}: after this the run can be forked from {Words.Rounds(after)}, "
                        + $"from {Words.Rounds([.. before.Except(after)])} no more; checkpoints.keepEvery of the plan keeps every n-th");
                }
            }

            var halfWritten = jobs.Job.Leftovers(remove: !only) + OutputFile.Leftovers(run.Path, remove: !only);
            if (halfWritten > 0 && !parsed.GetValue(json))
                await output.WriteLineAsync($"half-written files: {(only ? "would remove" : "removed")} {Words.Bytes(halfWritten)}");
            return ExitCode.Done;
        });
        return command;
    }
}
