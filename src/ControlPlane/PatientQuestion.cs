using FedRLora.Abstractions;
using FedRLora.Grains;
using FedRLora.Grains.Store;
using Orleans.Runtime;

namespace FedRLora.ControlPlane;

/// <summary>Asks again where nobody answers: a silo is lost, and another takes over within seconds.</summary>
public static class PatientQuestion
{
    private static readonly TimeSpan FirstWait = TimeSpan.FromSeconds(2);
    private static readonly TimeSpan LongestWait = TimeSpan.FromSeconds(30);
    private static readonly TimeSpan Pause = TimeSpan.FromMilliseconds(250);

    /// <summary>
    /// The answer. What was asked of a lost silo is answered by nobody, so that the next question is put early; each one after it waits
    /// twice as long, or a slow answer would never come.
    /// </summary>
    /// <param name="ask">The question; it changes nothing, however often it is put.</param>
    /// <param name="patience">How long it is put again; zero asks once, and takes the time it takes.</param>
    /// <param name="unanswered">Called once, when there was no answer to the first questions.</param>
    /// <param name="time">The time; the system's where there is no other.</param>
    /// <param name="cancellationToken">The caller's token.</param>
    /// <exception cref="UnansweredException">Nobody answered, however patient.</exception>
    public static async Task<T> AskAsync<T>(
        Func<CancellationToken, Task<T>> ask, TimeSpan patience, Action? unanswered = null, TimeProvider? time = null,
        CancellationToken cancellationToken = default)
    {
        if (patience <= TimeSpan.Zero) return await ask(cancellationToken);
        time ??= TimeProvider.System;
        var started = time.GetTimestamp();
        var again = new Retry<T>(time, IsUnanswered, static (_, _) => Pause, within: patience);
        try
        {
            return await again.RunAsync(
                (retry, token) => ask(token).WaitAsync(Pauses.Doubled(FirstWait, retry + 1, LongestWait), time, token), cancellationToken,
                (_, _) =>
                {
                    if (time.GetElapsedTime(started) < FirstWait) return;
                    unanswered?.Invoke();
                    unanswered = null;
                });
        }
        catch (Exception e) when (Unanswered.Is(e, cancellationToken))
        {
            var asked = time.GetElapsedTime(started);
            throw new UnansweredException($"No silo has answered for {asked.TotalSeconds:F0} s", e);
        }
    }

    private static bool IsUnanswered(Exception e) => Unanswered.Is(e); // a caller who gives up ends the retries
}

/// <summary>Silos that were there do not answer any more: exit code 3.</summary>
public sealed class UnansweredException(string message, Exception? innerException = null) : Exception(message, innerException);
