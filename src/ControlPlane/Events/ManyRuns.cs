using System.Runtime.CompilerServices;
using System.Text.Json;
using FedRLora.ControlPlane.Http;
using FedRLora.ControlPlane.Views;

namespace FedRLora.ControlPlane.Events;

/// <summary>
/// Several runs as one stream: a browser has few connections to a host. What waits for the listener is as much as for one of a single
/// run, shared by the runs; a run that does not exist, or does not answer, holds up no other.
/// </summary>
public sealed class ManyRuns(RunFeeds feeds, TimeProvider time, FeedSettings? settings = null)
{
    /// <summary>Runs of one stream.</summary>
    public const int Most = 32;

    private readonly FeedSettings _settings = settings ?? new();

    /// <summary>
    /// Events of the runs, each run's as <see cref="RunFeed.SubscribeAsync"/> has them. The id of each says where the listener is in all of
    /// them. It ends when nothing can come of any run any more.
    /// </summary>
    public async IAsyncEnumerable<FeedEvent> SubscribeAsync(
        IReadOnlyList<string> runs, string? lastEventId, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        var at = ManyPositions.Parse(lastEventId, runs);
        using var over = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        var sources = runs.Select(run => new Source(run, OfRunAsync(run, at.Of(run), runs.Count, over.Token), over.Token)).ToList();
        try
        {
            var told = time.GetTimestamp();
            for (var turn = 0; sources.Count > 0; turn++)
            {
                await Task.WhenAny(sources.Select(static source => source.Next));
                var place = Enumerable.Range(turn, sources.Count).First(place => sources[place % sources.Count].Next.IsCompleted);
                turn = place % sources.Count; // the next turn begins with the run after it, so that each has its turn
                var source = sources[turn];
                if (!await source.Next)
                {
                    await source.Events.DisposeAsync();
                    sources.Remove(source);
                    turn--;
                    continue;
                }

                var one = source.Events.Current;
                source.Advance();
                if (one.Type == FeedEvents.Ping)
                {
                    if (time.GetElapsedTime(told) < _settings.PingAfter / 2) continue; // another run has shown that the stream is alive
                    yield return one;
                }
                else
                {
                    if (one.Type == FeedEvents.Gone) at.Remove(source.Run);
                    if (one.Id is { } id) at.Set(source.Run, id);
                    yield return one with { Id = one.Id is null ? null : at.ToString(), Run = source.Run };
                }

                told = time.GetTimestamp();
            }
        }
        finally
        {
            await over.CancelAsync();
            foreach (var source in sources) await source.EndAsync();
        }
    }

    private async IAsyncEnumerable<FeedEvent> OfRunAsync(
        string run, string? lastEventId, int share, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        for (var isFirst = true; ; isFirst = false)
        {
            await using var events = feeds.SubscribeAsync(run, lastEventId, cancellationToken, share).GetAsyncEnumerator(cancellationToken);
            FeedEvent? trouble = null;
            while (trouble is null)
            {
                try
                {
                    if (!await events.MoveNextAsync()) yield break;
                }
                catch (NoSuchRunException e)
                {
                    trouble = Of(FeedEvents.Gone, e.Message);
                }
                catch (UnansweredException e)
                {
                    trouble = Of(FeedEvents.Away, e.Message); // it has said nothing as yet, and is asked again
                }

                if (trouble is null) yield return events.Current;
            }

            if (trouble.Type == FeedEvents.Gone || isFirst) yield return trouble;
            if (trouble.Type == FeedEvents.Gone) yield break;
        }
    }

    private static FeedEvent Of(string type, string error) => new(null, type, JsonSerializer.SerializeToUtf8Bytes(error, Json.Lines));

    private sealed class Source
    {
        public Source(string run, IAsyncEnumerable<FeedEvent> events, CancellationToken cancellationToken)
        {
            (Run, Events) = (run, events.GetAsyncEnumerator(cancellationToken));
            Advance();
        }

        public string Run { get; }

        public IAsyncEnumerator<FeedEvent> Events { get; }

        public Task<bool> Next { get; private set; } = Task.FromResult(false);

        public void Advance() => Next = Events.MoveNextAsync().AsTask();

        public async Task EndAsync()
        {
            Task next = Next;
            await next.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing); // whoever listens is told of the first that failed
            await Events.DisposeAsync();
        }
    }
}
