using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Ports;

namespace FedRLora.Grains.Coordination;

/// <summary>Answers whoever follows a job.</summary>
internal sealed class RunFollowing(CoordinatorServices services, ActiveJob active)
{
    private static readonly TimeSpan MostPatience = TimeSpan.FromSeconds(20);
    private static readonly TimeSpan LookEvery = TimeSpan.FromSeconds(1); // that a site has lost its silo, nobody says here
    private readonly RunEventLog _log = active.News;
    private readonly CommittedRounds _rounds = new(services.Settings, active.Job);

    /// <summary>
    /// What happened after a position, as soon as something did; nothing where patience, or this activation, ends before.
    /// </summary>
    public async Task<RunNews> FollowAsync(RunPosition? after, TimeSpan patience, CancellationToken cancellationToken)
    {
        if (patience > MostPatience) patience = MostPatience;
        var (time, since) = (services.Time, services.Time.GetTimestamp());
        using var ending = CancellationTokenSource.CreateLinkedTokenSource(
            cancellationToken, active.Events.Stopping, services.Lifetime.ApplicationStopping);
        while (true)
        {
            var news = await AnswerAsync(after, cancellationToken);
            var left = patience - time.GetElapsedTime(since);
            if (news.Events.Count > 0 || news.IsForeign || left <= TimeSpan.Zero || _log.IsOver || ending.IsCancellationRequested)
            {
                cancellationToken.ThrowIfCancellationRequested();
                return news;
            }

            if (LookEvery < left) left = LookEvery;
            await _log.WaitAsync(_log.Due is { } due && due < left ? due : left, ending.Token);
        }
    }

    private async Task<RunNews> AnswerAsync(RunPosition? after, CancellationToken cancellationToken)
    {
        if (_log.Due == TimeSpan.Zero || _log.LookedAgo >= LookEvery) _log.Look();
        if (after is null) return await RestatedAsync(-1, cancellationToken);
        if (!_log.IsOwn(after)) return new() { Events = _log.Whole(), IsForeign = true, IsRestated = true };
        return _log.After(after) is { } entries
            ? await ExactAsync(entries, cancellationToken)
            : await RestatedAsync(after.Round, cancellationToken);
    }

    // As many events as a message holds, in the order in which they happened.
    private async Task<RunNews> ExactAsync(IReadOnlyList<RunEventLog.Entry> entries, CancellationToken cancellationToken)
    {
        var (events, room, perRound) = (new List<RunEvent>(), services.Settings.MostClientsInMessage, active.Job.Plan.Clients.Count);
        foreach (var entry in entries)
        {
            room -= 1 + (entry.Round is null ? entry.Clients?.Count ?? 0 : perRound);
            if (room < 0 && events.Count > 0) return new() { Events = events, HasMore = true };
            try
            {
                events.Add(new()
                {
                    At = entry.At, State = entry.State, Clients = entry.Clients,
                    Round = entry.Round is { } round ? await RoundAsync(round, cancellationToken) : null,
                });
            }
            catch (StoreUnavailableException) when (events.Count > 0)
            {
                return new() { Events = events, HasMore = true }; // whoever asks for the rest is told why there is none
            }
        }

        return new() { Events = events };
    }

    private async Task<RoundSummary> RoundAsync(int round, CancellationToken cancellationToken) =>
        _log.Newest(round) ?? (await _rounds.ReadAsync(round - 1, round, cancellationToken))[0];

    // Rounds are the same whoever tells of them; what happened beside them is told as it stands now.
    private async Task<RunNews> RestatedAsync(int after, CancellationToken cancellationToken)
    {
        var rounds = await _rounds.ReadAsync(after, _log.Told, cancellationToken);
        var last = rounds.Count > 0 ? rounds[^1].Manifest.Round : after;
        _log.Look(); // what was committed while these were read belongs before the state
        var events = rounds.Select(round => new RunEvent { At = _log.AtRound(round.Manifest.Round), Round = round });
        return last < _log.Told
            ? new() { Events = [.. events], IsRestated = true, HasMore = true }
            : new() { Events = [.. events, .. _log.Whole()], IsRestated = true };
    }
}
