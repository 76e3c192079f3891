using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Client.Local;
using FedRLora.ControlPlane.Views;
using FedRLora.Grains.Upkeep;

namespace FedRLora.Client.Commands;

/// <summary>
/// <c>fedrlora verify runs/NAME-N</c>, or <c>--store FOLDER --job ID</c>: every digest of a run, from round 0 to what is committed.
/// </summary>
internal static class VerifyCommand
{
    public static Command Create()
    {
        var json = SharedOptions.Json();
        var command = new Command("verify", "Check every blob of a run against its digest, and the chain of rounds") { json };
        var stored = StoredRun.AddTo(command);
        command.SetAction(async (parsed, cancellationToken) =>
        {
            using var jobs = stored.FolderOf(parsed) is { } run ? StoredJobs.Of(RunDirectory.Open(run)) : stored.OpenStore(parsed);
            return await RunAsync(jobs, parsed.GetValue(json), parsed.InvocationConfiguration.Output, parsed.InvocationConfiguration.Error,
                cancellationToken);
        });
        return command;
    }

    private static async Task<int> RunAsync(
        StoredJobs jobs, bool json, TextWriter output, TextWriter error, CancellationToken cancellationToken)
    {
        var code = ExitCode.Done;
        foreach (var id in jobs.Ids)
        {
            var report = await new RunVerifier(jobs.Job, jobs.Site, id).VerifyAsync(cancellationToken);
            if (report is null && id != jobs.Ids[0]) continue; // the reference run has not begun
            if (report is null) throw new BadInputException($"There is no run {id} in this store.");
            if (report.Broken.Count > 0) code = ExitCode.Failed;
            if (json)
            {
                await output.WriteLineAsync(JsonSerializer.Serialize(new
                {
                    Json.Schema, run = id, intact = report.Broken.Count == 0, rounds = Math.Max(0, report.LastRound), blobs = report.Intact,
                    report.Digest, report.Broken, report.Unchecked, report.Leftovers, report.OtherSites, report.Changes,
                }, Json.Lines));
            }
            else
            {
                await ShowAsync(id, report, output, error);
            }
        }

        return code;
    }

    private static async Task ShowAsync(string id, RunReport report, TextWriter output, TextWriter error)
    {
        var blobs = string.Create(CultureInfo.InvariantCulture,
            $"{Words.Count(Math.Max(0, report.LastRound), "round")}, {Words.Count(report.Intact, "blob")}");
        if (report.Broken.Count > 0)
        {
            var others = report.Broken.Skip(1).Select(static other => other.Key).ToArray();
            await error.WriteLineAsync($"{id}: broken: {report.Broken[0]}");
            if (others.Length > 0)
                await error.WriteLineAsync($"{id}: {Words.Count(others.Length, "more blob")} broken: {string.Join(", ", others)}");
            await error.WriteLineAsync($"{id}: {blobs} intact");
        }
        else
        {
            await output.WriteLineAsync($"{id}: {blobs}, digest {report.Digest ?? "none: nothing is committed"}");
        }

        var to = report.Broken.Count > 0 ? error : output;
        if (report.Unchecked.Count > 0)
            await to.WriteLineAsync(
                $"{id}: {Words.Count(report.Unchecked.Count, "blob")} not checked, because what names them is broken or not yet there");
        foreach (var change in report.Changes) await to.WriteLineAsync($"{id}: {change}");
        if (report.Leftovers.Count > 0)
            await to.WriteLineAsync(
                $"{id}: {Words.Count(report.Leftovers.Count, "blob")} not named by any manifest: of the open round, or left by a stop");
        if (report.OtherSites.Count > 0)
            await to.WriteLineAsync($"{id}: not looked at: heads of {string.Join(", ", report.OtherSites)}, which are in another store");
    }
}
