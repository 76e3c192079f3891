using System.CommandLine;
using System.Text;
using System.Text.Json;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;
using FedRLora.Client.Local;
using FedRLora.ControlPlane.Views;
using FedRLora.Grains.Runs;
using FedRLora.Grains.Upkeep;

namespace FedRLora.Client.Commands;

/// <summary>
/// <c>fedrlora repair runs/NAME-N</c>, or <c>--store FOLDER --job ID</c>: puts the commit pointer on the newest round that holds, and
/// makes again what follows from the rest.
/// </summary>
internal static class RepairCommand
{
    public static Command Create()
    {
        var dry = new Option<bool>("--dry-run") { Description = "Say what would be done, and do nothing" };
        var json = SharedOptions.Json();
        var command = new Command("repair",
            "Make a run usable that lost its commit pointer, a manifest or another document: go back to the newest round that holds")
        {
            dry, json,
        };
        var stored = StoredRun.AddTo(command);
        command.SetAction(async (parsed, cancellationToken) =>
        {
            var (only, lines) = (parsed.GetValue(dry), parsed.GetValue(json));
            using var run = stored.FolderOf(parsed) is { } folder ? RunDirectory.OpenToRun(folder) : null;
            run?.RequireStore();
            using var jobs = run is null ? stored.OpenStore(parsed) : StoredJobs.Of(run);
            var shown = new Shown(lines, parsed.InvocationConfiguration.Output, parsed.InvocationConfiguration.Error);
            var plans = run is null ? [] : PlansOf(run);
            var code = ExitCode.Done;
            foreach (var id in jobs.Ids)
            {
                var repair = await RepairAsync(jobs, id, plans, only, cancellationToken);
                if (repair is null && id != jobs.Ids[0]) continue; // the reference run has not begun
                if (repair is null && run is { Result: { } result })
                {
                    throw new BadInputException($"{Path.Combine(run.Store, Keys.Job(id))} is missing, "
                        + $"but {result} shows that rounds were committed; put it back with all that was in it.");
                }

                if (repair is null && run is null) throw new BadInputException($"There is no run {id} in this store.");
                var plan = run is null || id != jobs.Ids[0] ? null : await PlanAsync(run, jobs.Job, id, only, cancellationToken);
                var left = only || repair is null or { IsHopeless: true } ? []
                    : (await new RunVerifier(jobs.Job, jobs.Site, id).VerifyAsync(cancellationToken))?.Broken ?? [];
                await shown.ShowAsync(id, repair, plan, left, only);
                if (repair is { IsHopeless: true } or { Unresolved.Count: > 0 } || left.Count > 0) code = ExitCode.Failed;
            }

            if (code == ExitCode.Done && !only && !lines && shown.Changed)
            {
                var silos = run is null ? " and the --server of its silos" : "";
                await parsed.InvocationConfiguration.Output.WriteLineAsync(
                    $"Go on with: {OwnCommand.Line("resume", run?.Path ?? jobs.Ids[0])}{silos}");
            }

            return code;
        });
        return command;
    }

    private static async Task<Repair?> RepairAsync(
        StoredJobs jobs, string id, IReadOnlyList<string> plans, bool only, CancellationToken cancellationToken)
    {
        var repairer = new RunRepair(jobs.Job, jobs.Site, id, plans);
        if (await repairer.FindAsync(cancellationToken) is not { } repair) return null;
        try
        {
            if (!only) await repairer.ApplyAsync(repair, cancellationToken);
            return repair;
        }
        catch (BlobConflictException e)
        {
            throw new BadInputException(
                $"{Keys.Current(id)} was written meanwhile: somebody runs {id}. Repair it when nothing runs it.", e);
        }
    }

    // The folder's plan, and the one of the reference run that is made from it.
    private static IReadOnlyList<string> PlansOf(RunDirectory run)
    {
        try
        {
            var file = PlanFile.Open(run.PlanPath);
            return file.Read().Plan is { Sharing: Sharing.Method } && run.Record.LocalOnly
                ? [file.Yaml, file.WithNothingShared().Yaml]
                : [file.Yaml];
        }
        catch (BadInputException)
        {
            return []; // the folder's plan is what has to be put back
        }
    }

    // Puts the newest plan of the store into the run folder, unless what is there is that one or an extension of it.
    private static async Task<string?> PlanAsync(
        RunDirectory run, IBlobStore store, string job, bool only, CancellationToken cancellationToken)
    {
        if (await StoredPlans.NewestAsync(store, job, cancellationToken) is not { } newest) return null;
        try
        {
            if (!LocalRun.IsOther(run.RequirePlan(), newest)) return null;
        }
        catch (BadInputException)
        {
            // missing, or no plan any more
        }

        var there = File.Exists(run.PlanPath);
        if (!only) run.PutBackPlan(Encoding.UTF8.GetString(newest.Yaml));
        return there
            ? $"{run.PlanPath} is not the plan of the run; that one is put back, the other kept as {run.PlanPath}.replaced"
            : $"{run.PlanPath} is missing; it is put back";
    }

    private sealed class Shown(bool json, TextWriter output, TextWriter error)
    {
        /// <summary>Whether anything was to be done.</summary>
        public bool Changed { get; private set; }

        public async Task ShowAsync(string id, Repair? repair, string? plan, IReadOnlyList<Finding> left, bool only)
        {
            string[] steps = [.. repair?.Steps ?? [], .. plan is null ? Array.Empty<string>() : [plan]];
            Changed |= steps.Length > 0;
            if (json)
            {
                await output.WriteLineAsync(JsonSerializer.Serialize(new
                {
                    Json.Schema, run = id, done = !only, repair?.Before, repair?.After, steps, dropped = repair?.Passed ?? [],
                    unresolved = repair?.Unresolved ?? [], broken = left, otherSites = repair?.OtherSites ?? [],
                }, Json.Lines));
                return;
            }

            if (only) await output.WriteLineAsync($"{id}: nothing is changed; without --dry-run:");
            foreach (var step in steps) await output.WriteLineAsync($"{id}: {step}");
            var (to, what) = repair is { IsHopeless: true } ? (error, "cannot be used") : (output, "is dropped");
            foreach (var passed in repair?.Passed ?? []) await to.WriteLineAsync($"{id}: round {passed.Round} {what}: {passed.Reason}");
            if (repair is { IsHopeless: true })
                await error.WriteLineAsync($"{id}: no round holds; nothing is changed. Put back what is named above.");
            foreach (var unresolved in repair?.Unresolved ?? []) await error.WriteLineAsync($"{id}: {unresolved}");
            foreach (var finding in left) await error.WriteLineAsync($"{id}: still broken: {finding}");
            if (steps.Length == 0 && left.Count == 0 && repair is null or { IsHopeless: false, Unresolved.Count: 0 })
                await output.WriteLineAsync($"{id}: nothing to repair");
            if (repair?.OtherSites is { Count: > 0 } others)
                await output.WriteLineAsync($"{id}: not looked at: heads of {string.Join(", ", others)}, which are in another store");
        }
    }
}
