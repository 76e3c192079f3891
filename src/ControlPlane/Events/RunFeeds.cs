using System.Runtime.CompilerServices;
using FedRLora.Abstractions.Grains;
using FedRLora.Abstractions.Messages;
using FedRLora.ControlPlane.Http;
using FedRLora.ControlPlane.Views;

namespace FedRLora.ControlPlane.Events;

/// <summary>The feeds of a silo: one for each run that somebody listens to, or has a moment ago.</summary>
public sealed class RunFeeds : IAsyncDisposable
{
    private readonly Func<string, RunFeed> _make;
    private readonly TimeProvider _time;
    private readonly FeedSettings _settings;
    private readonly Lock _gate = new();
    private readonly Dictionary<string, Entry> _feeds = new(StringComparer.Ordinal);
    private bool _isOver;

    /// <summary>Feeds of the runs of a cluster.</summary>
    public RunFeeds(ControlServices services, FeedSettings? settings = null)
        : this(
            (run, feed) => new RunFeed(
                run, services.Grains.GetGrain<IRunFollowingGrain>(run), services.Grains.GetGrain<IRunControlGrain>(run).GetPlanAsync,
                services.Time, feed),
            services.Time, settings)
    {
    }

    /// <param name="make">Begins to follow a run.</param>
    /// <param name="time">The time.</param>
    /// <param name="settings">How long a feed goes on.</param>
    public RunFeeds(Func<string, FeedSettings, RunFeed> make, TimeProvider time, FeedSettings? settings = null)
    {
        _settings = settings ?? new();
        (_make, _time) = (run => make(run, _settings), time);
    }

    /// <summary>Runs that are followed here.</summary>
    public IReadOnlyList<string> Followed
    {
        get
        {
            lock (_gate) return [.. _feeds.Keys.Order(StringComparer.Ordinal)];
        }
    }

    /// <inheritdoc cref="RunFeed.SubscribeAsync"/>
    public async IAsyncEnumerable<FeedEvent> SubscribeAsync(
        string run, string? lastEventId, [EnumeratorCancellation] CancellationToken cancellationToken, int share = 1)
    {
        var entry = Enter(run);
        try
        {
            await foreach (var one in entry.Feed.SubscribeAsync(lastEventId, cancellationToken, share)) yield return one;
        }
        finally
        {
            Leave(run, entry);
        }
    }

    /// <inheritdoc cref="RunFeed.ViewAsync"/>
    public Task<RunView> ViewAsync(string run, CancellationToken cancellationToken) =>
        AskAsync(run, feed => feed.ViewAsync(cancellationToken));

    /// <inheritdoc cref="RunFeed.ColumnsAsync"/>
    internal Task<ClientColumns> ColumnsAsync(string run, CancellationToken cancellationToken) =>
        AskAsync(run, feed => feed.ColumnsAsync(cancellationToken));

    /// <inheritdoc cref="RunFeed.OutcomeAsync"/>
    internal Task<(OutcomeSoFar Outcome, JobStatus Status)> OutcomeAsync(string run, CancellationToken cancellationToken) =>
        AskAsync(run, feed => feed.OutcomeAsync(cancellationToken));

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        Entry[] all;
        lock (_gate)
        {
            _isOver = true;
            all = [.. _feeds.Values];
            _feeds.Clear();
        }

        foreach (var entry in all) await EndAsync(entry);
    }

    private async Task<T> AskAsync<T>(string run, Func<RunFeed, Task<T>> ask)
    {
        var entry = Enter(run);
        try
        {
            return await ask(entry.Feed);
        }
        finally
        {
            Leave(run, entry);
        }
    }

    private Entry Enter(string run)
    {
        if (!Abstractions.Identifiers.IsValid(run)) throw new NoSuchRunException(run);
        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_isOver, this);
            // it may be there by now
            if (!_feeds.TryGetValue(run, out var entry) || entry.Feed.IsOver) _feeds[run] = entry = new(_make(run));
            entry.Users++;
            entry.Cooling?.Dispose();
            entry.Cooling = null;
            return entry;
        }
    }

    private void Leave(string run, Entry entry)
    {
        lock (_gate)
        {
            if (--entry.Users > 0) return;
            var isCurrent = _feeds.GetValueOrDefault(run) == entry;
            if (isCurrent && !entry.Feed.IsOver)
            {
                entry.Cooling = _time.CreateTimer(_ => Cool(run, entry), null, _settings.Warm, Timeout.InfiniteTimeSpan);
                return;
            }

            if (isCurrent) _feeds.Remove(run);
        }

        _ = EndAsync(entry);
    }

    private void Cool(string run, Entry entry)
    {
        lock (_gate)
        {
            if (entry.Users > 0 || _feeds.GetValueOrDefault(run) != entry) return;
            _feeds.Remove(run);
        }

        _ = EndAsync(entry);
    }

    private static async Task EndAsync(Entry entry)
    {
        entry.Cooling?.Dispose();
        await entry.Feed.DisposeAsync();
    }

    private sealed class Entry(RunFeed feed)
    {
        public RunFeed Feed { get; } = feed;

        public int Users { get; set; }

        public ITimer? Cooling { get; set; }
    }
}
