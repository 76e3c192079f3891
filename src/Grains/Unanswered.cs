using FedRLora.Grains.Store;
using Orleans.Runtime;

namespace FedRLora.Grains;

/// <summary>Calls of grains that nobody has answered; whether they were heard is not known.</summary>
public static class Unanswered
{
    /// <summary>
    /// Whether a call was answered by nobody: its silo is gone, or has not answered in time. Orleans cancels a call that has found no silo
    /// in its time, with the exception of a caller who gave up: so the caller's token decides which it is.
    /// </summary>
    /// <param name="exception">What the call has thrown.</param>
    /// <param name="asked">The token of whoever called.</param>
    public static bool Is(Exception exception, CancellationToken asked = default) => exception switch
    {
        OperationCanceledException => !asked.IsCancellationRequested,
        OrleansException or TimeoutException => CorruptBlobException.OrBadInputIn(exception) is null,
        _ => false,
    };
}
