using System.Text;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Grains;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;
using FedRLora.Abstractions.Sending;
using FedRLora.Client.Rendering;
using FedRLora.Client.RunFolder;
using FedRLora.ControlPlane.Report;
using FedRLora.ControlPlane.Views;
using FedRLora.Grains.Runs;
using FedRLora.Grains.Store;
using FedRLora.Grains.Upkeep;
using FedRLora.Silo.Storage;

namespace FedRLora.Client.Local;

/// <summary>Runs, or continues, the jobs of a run folder on an embedded silo and writes what a reader wants to see.</summary>
/// <param name="run">The folder.</param>
/// <param name="screen">Where progress goes.</param>
/// <param name="maySend">What the sites let leave them; the plan is held to it.</param>
/// <param name="work">What it works on.</param>
/// <param name="dashboard">Whether it is seen over HTTP while it goes on.</param>
internal sealed class LocalRun(RunDirectory run, Screen screen, SendingLimits maySend, Workplace work, bool dashboard = false)
{
    private static readonly TimeSpan PollEvery = TimeSpan.FromMilliseconds(100);

    /// <summary>Whether the run's first job was accepted: before that, its folder holds nothing.</summary>
    public bool HasBegun { get; private set; }

    /// <summary>The exit code.</summary>
    /// <param name="resume">Whether a run is taken up that <see cref="RequireWholeAsync"/> found whole; it begins otherwise.</param>
    /// <param name="allowEngineChange">Whether it may go on on another engine.</param>
    /// <param name="cancellationToken">Stops the run, which keeps what is committed.</param>
    public async Task<int> RunAsync(bool resume, bool allowEngineChange, CancellationToken cancellationToken)
    {
        var file = run.RequirePlan();
        var plan = file.Require();
        var localOnlyFile = run.Record.LocalOnly ? file.WithNothingShared() : null;
        var federated = new RoundReporter(screen, plan) { WhenPaused = WayOn };
        var localOnly = localOnlyFile is null ? null : new RoundReporter(screen, localOnlyFile.Require()) { WhenPaused = WayOn };
        var (files, localFiles) = (run.Metrics(plan), run.MetricsOfLocalOnly(plan));
        IReadOnlyDictionary<string, ScoreComparison>? versusLocal = null;
        Interruption.LastWord = Stopped; // also of a run that has not begun: left in mid-step, its folder is there to go on with
        await using var silo = await EmbeddedSilo.StartAsync(run, maySend, work, note => screen.Warn([note]), screen.Note,
            dashboard, cancellationToken);
        if (silo.EntranceAddress is { } address) await screen.Error.WriteLineAsync($"dashboard: {address}");
        try
        {
            var status = await FollowAsync(silo, plan.Name, file.Yaml, federated, files);
            await WriteResultsAsync(status);
            if (status != JobStatus.Finished) return Ended(status);
            var adapters = await ExportAsync(plan, cancellationToken);
            if (localOnly is not null)
            {
                if (screen.Mode != ScreenMode.Json)
                    await screen.Output.WriteLineAsync("The same clients with the same budget and nothing shared:");
                status = await FollowAsync(silo, LocalOnlyRun.Of(plan.Name), localOnlyFile!.Yaml, localOnly, localFiles);
                await WriteResultsAsync(status);
            }

            Summarize(plan, federated.Rounds, localOnly?.Rounds, versusLocal, adapters);
            return status == JobStatus.Finished ? ExitCode.Done : Ended(status);
        }
        catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
        {
            Write(versusLocal: null);
            await screen.Error.WriteLineAsync(Stopped);
            Interruption.LastWord = null;
            return ExitCode.Interrupted;
        }
        catch (Exception e) when ((HasBegun || resume) && TroubleOf(e) is { } trouble)
        {
            await screen.Error.WriteLineAsync($"{trouble} {WayOn}");
            return ExitCode.Environment;
        }

        async Task WriteResultsAsync(JobStatus status)
        {
            try
            {
                if (localOnly is { Rounds.Count: > 0 })
                {
                    using var store = run.OpenStore();
                    versusLocal = await FolderResults.CompareAsync(store, plan, plan.Name, cancellationToken);
                }

                Write(versusLocal);
            }
            catch (Exception e) when (status == JobStatus.Paused && TroubleOf(e) is not null)
            {
                // the disk that the run is paused for, which was said
            }
        }

        // The rounds seen so far; of a run that was stopped before the first, what an earlier process wrote is kept.
        void Write(IReadOnlyDictionary<string, ScoreComparison>? versusLocal)
        {
            if (federated.Rounds.Count == 0) return;
            files.Write(federated.Rounds);
            var reference = localOnly is { Rounds.Count: > 0 } ? localOnly.Rounds : null;
            if (reference is not null) localFiles.Write(reference);
            ReportFiles.Write(run.Path, run.Record.Mode, ReportContent.Of(
                plan, federated.Rounds, reference, file.Yaml, FolderResults.FactsOf(run, plan), versusLocal));
        }

        async Task<JobStatus> FollowAsync(EmbeddedSilo silo, string job, string yaml, RoundReporter reporter, MetricsFiles live)
        {
            var coordinator = silo.Grains.GetGrain<IRunControlGrain>(job);
            if (resume && await coordinator.GetPlanAsync(cancellationToken) is { } stored)
            {
                if (stored != yaml) await coordinator.ExtendAsync(yaml, cancellationToken: cancellationToken);
                await coordinator.ResumeAsync(allowEngineChange, cancellationToken: cancellationToken);
            }
            else if (await IsForkAsync(job, cancellationToken)) await coordinator.BeginForkAsync(yaml, cancellationToken);
            else await coordinator.SubmitAsync(yaml, cancellationToken);
            HasBegun = true;
            var snapshots = coordinator.SnapshotsAsync(
                () => reporter.LastRound, PollEvery, waitsWhilePaused: dashboard,
                cancellationToken); // who paused it there resumes it there
            var last = await reporter.FollowAsync(WrittenAsync(snapshots, reporter, live), cancellationToken);
            return last?.Status ?? JobStatus.Failed;
        }
    }

    // What a round adds to the files is there when it is shown.
    private async IAsyncEnumerable<RunSnapshot> WrittenAsync(
        IAsyncEnumerable<RunSnapshot> snapshots, RoundReporter reporter, MetricsFiles files)
    {
        var isSaid = false;
        await foreach (var snapshot in snapshots)
        {
            try
            {
                if (snapshot.NewRounds.Count > 0)
                    files.Add([.. reporter.Rounds, .. snapshot.NewRounds.Where(round => round.Manifest.Round > reporter.LastRound)]);
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                // no reason to stop: they are written at the next round again, and at the end, where this is an error
                if (!isSaid) screen.Warn([$"what is measured cannot be written as yet, and the rounds go on: {e.Message.TrimEnd('.')}"]);
                isSaid = true;
            }

            yield return snapshot;
        }
    }

    /// <summary>Whether a plan is neither the one that a run is stored with nor that one with more rounds.</summary>
    public static bool IsOther(PlanFile file, (BlobRef Blob, byte[] Yaml, int Extensions) stored)
    {
        if (file.Sha256 == stored.Blob.Sha256) return false;
        var (asked, before) = (file.Require(), PlanReader.Require(Encoding.UTF8.GetString(stored.Yaml), stored.Blob.Key));
        var unextended = asked with { Strategy = asked.Strategy with { Rounds = before.Strategy.Rounds } };
        return asked.Strategy.Rounds <= before.Strategy.Rounds || PlanText.Of(unextended) != PlanText.Of(before);
    }

    // The folder is this run's alone, so a start that lies in it is its own.
    private async Task<bool> IsForkAsync(string job, CancellationToken cancellationToken)
    {
        using var store = run.OpenStore();
        return await Fork.OriginAsync(store, job, job == run.Record.Plan ? run.Record.Origin : null, cancellationToken) is not null;
    }

    // Of the store, or of the disk that the run's other files are on.
    private string? TroubleOf(Exception exception) =>
        StoreUnavailableException.In(exception)?.Message ?? (DiskErrors.In(exception) is { } error ? $"{run.Path}: {error}." : null);

    private string Stopped => $"Stopped; what is committed is kept. Continue with: {OwnCommand.Line("resume", run.Path)}";

    private string WayOn => $"What is committed is kept; continue with: {OwnCommand.Line("resume", run.Path)}";

    // In one process nobody pauses a run but a store that cannot be used.
    private static int Ended(JobStatus status) => status == JobStatus.Paused ? ExitCode.Environment : ExitCode.Failed;

    /// <summary>What the folder needs to go on is there, before anything of it is changed.</summary>
    /// <exception cref="BadInputException">A file of the folder is missing, or is not this run's.</exception>
    /// <exception cref="CorruptBlobException">A blob is missing or was changed.</exception>
    public async Task RequireWholeAsync(PlanFile file, bool anyEngine, CancellationToken cancellationToken)
    {
        run.RequireStore();
        using var store = run.OpenStore();
        var name = run.Record.Plan;
        foreach (var job in new[] { name, LocalOnlyRun.Of(name) })
            await RunCheck.RequireAsync(store, store, job, anyEngine, cancellationToken);
        if (await StoredPlans.NewestAsync(store, name, cancellationToken) is { } newest)
        {
            if (IsOther(file, newest))
            {
                throw new BadInputException($"{run.PlanPath} is not the plan that the run was made with, nor that plan with more rounds; "
                    + "fedrlora repair puts that one back, fedrlora fork begins a run with another.");
            }
        }
        else if (run.Result is { } result)
        {
            throw new BadInputException($"{Path.Combine(run.Store, Keys.Job(name))} is missing, "
                + $"but {result} shows that rounds were committed; put it back with all that was in it.");
        }
    }

    // Where the adapters are, or why not.
    private async Task<string> ExportAsync(FederationPlan plan, CancellationToken cancellationToken)
    {
        if (!plan.Checkpoints.Export) return $"not asked for; {OwnCommand.Line("export", run.Path)} writes them";
        try
        {
            var form = new ExportForm();
            await (await CommittedRun.OpenAsync(run, cancellationToken))
                .ExportAsync(run.AdaptersOf(form), clients: null, form, relativeBase: false, cancellationToken);
            return $"{run.AdaptersOf(form)}/CLIENT, in {form.Text}";
        }
        catch (BadInputException e)
        {
            return $"none: {e.Message}";
        }
    }

    private void Summarize(
        FederationPlan plan, IReadOnlyList<RoundSummary> federated, IReadOnlyList<RoundSummary>? localOnly,
        IReadOnlyDictionary<string, ScoreComparison>? versusLocal, string adapters)
    {
        screen.Show(FinalTable.Of(plan, federated, localOnly is { Count: > 0 } ? localOnly : null, versusLocal), run.Path);
        if (screen.Mode == ScreenMode.Json) return;
        if (run.Record.ForkedFrom is { } parent) screen.Output.WriteLine($"forked from: {parent}; base is the frozen base");
        screen.Output.WriteLine($"digest: {federated[^1].ManifestSha256}");
        screen.Output.WriteLine($"adapters: {adapters}");
        screen.Output.WriteLine($"report: {Path.Combine(run.Path, ReportFiles.Page)}");
        if (ReportFiles.PictureOf(run.Path) is { } picture) screen.Output.WriteLine($"picture: {picture}");
    }
}
