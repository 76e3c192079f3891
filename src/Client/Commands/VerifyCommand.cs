using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Client.Control;
using FedRLora.Client.Local;
using FedRLora.ControlPlane.Views;
using FedRLora.Grains.Upkeep;

namespace FedRLora.Client.Commands;

/// <summary>
/// <c>fedrlora verify runs/NAME-N</c>, a run's name with <c>--server</c>, or <c>--store FOLDER --job ID</c>: every digest of a run, from
/// round 0 to what is committed.
/// </summary>
internal static class VerifyCommand
{
    public static Command Create()
    {
        var json = SharedOptions.Json();
        var command = new Command("verify", "Check every blob of a run against its digest, and the chain of rounds") { json };
        var stored = StoredRun.AddTo(command, of: RunTarget.Description);
        var silos = ControlTarget.AddTo(command);
        command.SetAction(async (parsed, cancellationToken) =>
        {
            var given = stored.FolderOf(parsed);
            if (silos.IsNamed(parsed) && given is null) throw new BadInputException("--server goes with a run's name, not with --store");
            var found = silos.IsNamed(parsed)
                ? await AskAsync(silos, RunTarget.NameOf(given!), parsed, cancellationToken)
                : await LookAsync(
                    given is null ? stored.OpenStore(parsed) : StoredJobs.Of(RunDirectory.Open(RunTarget.PathOf(given, silos, parsed))),
                    cancellationToken);
            var (output, error) = (parsed.InvocationConfiguration.Output, parsed.InvocationConfiguration.Error);
            foreach (var run in found)
            {
                if (parsed.GetValue(json)) await output.WriteLineAsync(JsonSerializer.Serialize(run, Json.Lines));
                else await ShowAsync(run, output, error);
            }

            return found.Any(static run => !run.Intact) ? ExitCode.Failed
                : found.Any(static run => run.NotAsked.Count > 0) ? ExitCode.Environment
                : ExitCode.Done;
        });
        return command;
    }

    private static async Task<IReadOnlyList<VerificationView>> LookAsync(StoredJobs jobs, CancellationToken cancellationToken)
    {
        using (jobs)
        {
            var found = new List<VerificationView>();
            foreach (var id in jobs.Ids)
            {
                var report = await new RunVerifier(jobs.Job, jobs.Site, id).VerifyAsync(cancellationToken);
                if (report is null && id != jobs.Ids[0]) continue; // the reference run has not begun
                found.Add(VerificationView.Of(id, report ?? throw new BadInputException($"There is no run {id} in this store.")));
            }

            return found;
        }
    }

    private static async Task<IReadOnlyList<VerificationView>> AskAsync(
        ControlTarget target, string run, ParseResult parsed, CancellationToken cancellationToken)
    {
        using var silos = target.Open(parsed);
        List<VerificationView> found = [await AskAsync(run)];
        try
        {
            if (LocalOnlyRun.RunOf(run) is null && Identifiers.IsValid(LocalOnlyRun.Of(run)))
                found.Add(await AskAsync(LocalOnlyRun.Of(run)));
        }
        catch (NotThereException)
        {
            // it has no local-only reference, or none yet
        }

        return found;

        Task<VerificationView> AskAsync(string id) =>
            silos.GetAsync<VerificationView>($"{ControlClient.Run(id)}/verification", cancellationToken, silos.Patience.Work);
    }

    private static async Task ShowAsync(VerificationView report, TextWriter output, TextWriter error)
    {
        var id = report.Run;
        var blobs = string.Create(CultureInfo.InvariantCulture,
            $"{Words.Count(report.Rounds, "round")}, {Words.Count(report.Blobs, "blob")}");
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
        string[] elsewhere = [.. report.OtherSites.Where(site => !report.NotAsked.ContainsKey(site))];
        if (elsewhere.Length > 0)
            await to.WriteLineAsync($"{id}: not looked at: heads of {string.Join(", ", elsewhere)}, which are in another store");
        foreach (var (site, why) in report.NotAsked)
            await error.WriteLineAsync($"{id}: not looked at: heads of {site}: {ControlErrors.Line(why)}");
    }
}
