using FedRLora.Abstractions;
using FedRLora.Abstractions.Ports;
using FedRLora.Federation.Rounds;
using FedRLora.Grains.Runs;
using Microsoft.Extensions.Logging;

namespace FedRLora.Grains.Coordination;

/// <summary>
/// Deletes what nobody needs once a round is committed: its updates, and the states of the round that the plan no longer keeps. It goes
/// on beside the next round; what it leaves is deleted when the job starts again.
/// </summary>
internal sealed class UpdateCleaner(IBlobStore store, OpenJob job, ILogger<CoordinatorGrain> logger, CancellationToken stopping)
{
    /// <summary>Ends when the last cleaning does; it does not fail.</summary>
    public Task Cleaning { get; private set; } = Task.CompletedTask;

    /// <summary>
    /// Begins to clean up after the round that was just committed from <paramref name="state"/>, when the round before is clean: at most
    /// one round's updates lie about.
    /// </summary>
    public async Task CleanAsync(RoundState state)
    {
        await Cleaning;
        Cleaning = TryAsync(Task.CompletedTask, () => CleanRoundAsync(state));
    }

    /// <summary>
    /// Begins to delete what is left of the updates of the last two committed rounds: later ones may still be asked for, earlier ones
    /// were deleted. In buffered rounds any may be asked for until the job is over.
    /// </summary>
    public void CleanLeft() => Cleaning = TryAsync(Cleaning, CleanLeftAsync);

    /// <summary>Deletes every update of a job that is over.</summary>
    public Task CleanAllAsync() => TryAsync(Task.CompletedTask, async () =>
    {
        if (job.Committed is not { Round: var last }) return;
        for (var round = 1; round <= last; round++) await DeleteAttemptsAsync(round);
    });

    private async Task TryAsync(Task before, Func<Task> clean)
    {
        await before;
        try
        {
            await clean();
        }
        catch (OperationCanceledException)
        {
            // The activation is going away.
        }
        catch (Exception e)
        {
            logger.LogUpdatesLeft(job.Id, e); // nobody needs them any more: no reason to stop a round
        }
    }

    private Task CleanRoundAsync(RoundState state) => Task.Run(async () =>
    {
        if (Retention.LeftBy(job.Plan.Checkpoints, state.Round) is { } left) await DeleteStatesAsync(left);
        if (job.IsBuffered)
        {
            foreach (var client in state.Reports.Keys) // others are at work beside them
                await store.DeleteAsync(job.UpdateOf(state, client), stopping);
            return;
        }

        for (var attempt = 1; attempt <= state.Attempt; attempt++)
            await store.DeleteAllAsync(Keys.Attempt(job.Id, state.Round, attempt), stopping);
    }, stopping);

    private Task CleanLeftAsync() => Task.Run(async () =>
    {
        if (job.Committed is not { Round: var last }) return;
        for (var round = Math.Max(1, last - 1); round <= last; round++)
        {
            if (!job.IsBuffered) await DeleteAttemptsAsync(round);
            if (Retention.LeftBy(job.Plan.Checkpoints, round) is { } states) await DeleteStatesAsync(states);
        }
    }, stopping);

    private async Task DeleteAttemptsAsync(int round)
    {
        var prefix = Keys.Round(job.Id, round);
        var left = new SortedSet<int>();
        await foreach (var key in store.ListAsync(prefix, stopping))
        {
            if (Keys.RoundOf(key, prefix) is { } attempt) left.Add(attempt); // PREFIX, the attempt, the rest
        }

        foreach (var attempt in left) await store.DeleteAllAsync(Keys.Attempt(job.Id, round, attempt), stopping);
    }

    private async Task DeleteStatesAsync(int round)
    {
        var states = new HashSet<string>(StringComparer.Ordinal);
        await foreach (var key in store.ListAsync(Keys.Round(job.Id, round), stopping))
        {
            if (Keys.IsState(key, job.Id, round)) states.Add(key);
        }

        if (job.Committed is { Tasks: not null, Round: var last } && states.Count > 0)
        {
            // The state of a task that was kept belongs to several rounds: to this one from before, to later ones from this.
            var around = await job.ManifestsAsync(round, Math.Min(last, round + 1), stopping);
            states.UnionWith(Retention.SharedOf(job.Id, around[0]).Select(static blob => blob.Key));
            states.ExceptWith(around.Skip(1).SelectMany(next => Retention.SharedOf(job.Id, next)).Select(static blob => blob.Key));
            states.RemoveWhere(key => Retention.RoundOf(job.Id, key) is { } made
                && Enumerable.Range(made, round - made).Any(kept => Retention.KeepsShared(job.Plan.Checkpoints, kept, last)));
        }

        // Those of rounds before first: who dies on the way finds this round's own still there, and does the rest.
        foreach (var key in states.OrderBy(key => Retention.RoundOf(job.Id, key))) await store.DeleteAsync(key, stopping);
    }
}
