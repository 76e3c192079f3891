using Polly;
using Polly.Retry;

namespace FedRLora.Grains;

/// <summary>
/// Work that is done again where it may then succeed: after what, how often, for how long and after which pauses. It is the one way in
/// which anything here is tried again; all its time is that of a <see cref="TimeProvider"/>.
/// </summary>
/// <typeparam name="T">What the work gives.</typeparam>
public sealed class Retry<T>
{
    private static readonly ResiliencePropertyKey<Progress> Known = new("fedrlora.progress");
    private readonly ResiliencePipeline<T> _pipeline;
    private readonly TimeProvider _time;

    /// <param name="time">The time.</param>
    /// <param name="after">Whether what the work has thrown may pass.</param>
    /// <param name="pause">
    /// The pause before a retry by its number, from 1, and by what was thrown; nothing was thrown where a result is not enough.
    /// </param>
    /// <param name="most">How often the work is done again.</param>
    /// <param name="within">After this time it is not done again; null for no such bound.</param>
    /// <param name="enough">Whether what the work gives ends it; null where any result does.</param>
    public Retry(
        TimeProvider time, Func<Exception, bool> after, Func<int, Exception?, TimeSpan> pause, int most = int.MaxValue,
        TimeSpan? within = null, Func<T, bool>? enough = null)
    {
        _time = time;
        var builder = new ResiliencePipelineBuilder<T> { TimeProvider = time };
        if (most > 0)
        {
            builder.AddRetry(new RetryStrategyOptions<T>
            {
                MaxRetryAttempts = most,
                ShouldHandle = arguments => ValueTask.FromResult(
                    IsWorthIt(arguments.Outcome) && (within is null || ProgressIn(arguments.Context).Elapsed < within)),
                DelayGenerator = arguments =>
                    ValueTask.FromResult<TimeSpan?>(pause(arguments.AttemptNumber + 1, arguments.Outcome.Exception)),
                OnRetry = arguments =>
                {
                    ProgressIn(arguments.Context).Again(arguments.AttemptNumber + 1, arguments.Outcome.Exception);
                    return default;
                },
            });
        }

        _pipeline = builder.Build();

        bool IsWorthIt(Outcome<T> outcome) =>
            outcome.Exception is { } thrown ? after(thrown) : enough is not null && !enough(outcome.Result!);
    }

    /// <summary>Does the work. What the last try has thrown or given is thrown or given.</summary>
    /// <param name="work">The work; it is told how often it was done before.</param>
    /// <param name="cancellationToken">The caller's token.</param>
    /// <param name="before">Called before each pause with the number of the retry, from 1, and what was thrown.</param>
    public async Task<T> RunAsync(
        Func<int, CancellationToken, Task<T>> work, CancellationToken cancellationToken, Action<int, Exception?>? before = null)
    {
        // On the caller's scheduler throughout: the work of a grain stays in its turns.
        var context = ResilienceContextPool.Shared.Get(continueOnCapturedContext: true, cancellationToken);
        try
        {
            var progress = new Progress(_time, before);
            context.Properties.Set(Known, progress);
            return await _pipeline.ExecuteAsync(
                async running => await work(progress.Retries, running.CancellationToken), context);
        }
        finally
        {
            ResilienceContextPool.Shared.Return(context);
        }
    }

    private static Progress ProgressIn(ResilienceContext context) =>
        context.Properties.TryGetValue(Known, out var progress) ? progress : throw new InvalidOperationException("It was not begun here.");

    private sealed class Progress(TimeProvider time, Action<int, Exception?>? before)
    {
        private readonly long _started = time.GetTimestamp();

        public TimeSpan Elapsed => time.GetElapsedTime(_started);

        public int Retries { get; private set; }

        public void Again(int retry, Exception? thrown)
        {
            Retries = retry;
            before?.Invoke(retry, thrown);
        }
    }
}

/// <summary>Pauses between tries.</summary>
public static class Pauses
{
    /// <summary>Twice as long each time, up to a bound.</summary>
    /// <param name="first">Before the first retry.</param>
    /// <param name="retry">The retry, from 1.</param>
    /// <param name="most">The bound.</param>
    public static TimeSpan Doubled(TimeSpan first, int retry, TimeSpan most) =>
        TimeSpan.FromSeconds(Math.Min(most.TotalSeconds, first.TotalSeconds * Math.Pow(2, retry - 1)));
}
