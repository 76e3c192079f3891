using System.Globalization;
using System.Net.Sockets;
using System.Text.RegularExpressions;
using Azure;
using Azure.Core.Pipeline;
using Azure.Identity;
using Azure.Storage.Blobs.Models;
using FedRLora.Abstractions.Ports;

namespace FedRLora.Silo.Storage;

/// <summary>
/// Runs requests to one store: each has a budget of time for all its tries, and what keeps the store from being used becomes a
/// <see cref="StoreUnavailableException"/>. What a request says about its blob (not there, condition not met) passes as it is.
/// </summary>
/// <param name="store">The store's name in messages; holds no secret.</param>
/// <param name="credentials">What the store is opened with, as the advice of a refusal names it.</param>
/// <param name="budget">Time of one request with its retries.</param>
internal sealed partial class StoreRequests(string store, string credentials, TimeSpan budget)
{
    /// <summary>Runs a request; the token it is given also ends with the budget.</summary>
    public async Task<T> RunAsync<T>(Func<CancellationToken, Task<T>> request, CancellationToken cancellationToken)
    {
        using var sent = new Sending(budget, cancellationToken);
        try
        {
            return await request(sent.Token).ConfigureAwait(false);
        }
        catch (Exception e) when (Translate(e, sent.Tries, cancellationToken) is { } translated)
        {
            throw translated;
        }
    }

    /// <summary>Runs a request on this thread, for callers that write and read in place.</summary>
    public T Run<T>(Func<CancellationToken, T> request, CancellationToken cancellationToken)
    {
        using var sent = new Sending(budget, cancellationToken);
        try
        {
            return request(sent.Token);
        }
        catch (Exception e) when (Translate(e, sent.Tries, cancellationToken) is { } translated)
        {
            throw translated;
        }
    }

    /// <summary>The store cannot be used; <paramref name="reason"/> says why and what to do.</summary>
    public StoreUnavailableException Unavailable(string reason, Exception? innerException = null) =>
        new($"Store {store}: {reason}", innerException);

    // Null: the caller's to judge.
    private Exception? Translate(Exception exception, RequestTries tries, CancellationToken cancellationToken)
    {
        if (cancellationToken.IsCancellationRequested)
        {
            return exception is OperationCanceledException
                ? null
                : new OperationCanceledException("The store was not waited for.", exception, cancellationToken);
        }

        // Of a request that was tried several times.
        var cause = exception is AggregateException { InnerExceptions: var all } ? all[^1] : exception;
        return cause switch
        {
            StoreUnavailableException => null,
            RequestFailedException failed when failed.IsAboutTheBlob() => cause == exception ? null : failed,
            RequestFailedException { Status: 401 or 403 } refused => Unavailable(
                $"access was refused ({Said(refused)}); check {credentials}, and that it may read, write, list and delete here.", cause),
            AuthenticationFailedException =>
                Unavailable($"no credentials were accepted ({OneLine(cause.Message)}); check {credentials}.", cause),
            RequestFailedException { ErrorCode: "ContainerNotFound" } => Unavailable(
                "the container is not there and cannot be made with these credentials; create it, or correct the location.", cause),
            RequestFailedException { Status: >= 400 and < 500 and not (408 or 429) } failed =>
                Unavailable($"the request was refused ({Said(failed)}); check the location and the account.", cause),
            RequestFailedException or OperationCanceledException or IOException or TimeoutException or HttpRequestException
                or SocketException => Away(cause, tries),
            _ => null,
        };
    }

    private StoreUnavailableException Away(Exception cause, RequestTries tries)
    {
        var said = tries.LastFailure ?? (cause is RequestFailedException failed ? Said(failed) : "no answer");
        var within = string.Create(CultureInfo.InvariantCulture, $"{budget.TotalSeconds:0.#} s in {tries.Tries} tries");
        return Unavailable($"not reached within {within} ({said}); check the network and the account, then try again.", cause);
    }

    private static string Said(RequestFailedException failed) => failed.Status == 0
        ? OneLine(failed.Message)
        : OneLine(string.Create(CultureInfo.InvariantCulture, $"{failed.Status} {failed.ErrorCode}: {failed.Message}"));

    // A store's first line; a signature never leaves, whoever puts it into a message.
    private static string OneLine(string message) =>
        Signature().Replace(message.ReplaceLineEndings("\n").Split('\n')[0].TrimEnd('.'), "$1=...");

    [GeneratedRegex("(sig|AccountKey|SharedAccessSignature)=[^&;\\s]+", RegexOptions.IgnoreCase)]
    private static partial Regex Signature();

    /// <summary>A request's time and what its tries have met.</summary>
    private sealed class Sending : IDisposable
    {
        private readonly CancellationTokenSource _budget;
        private readonly IDisposable _scope;

        public Sending(TimeSpan budget, CancellationToken cancellationToken)
        {
            _budget = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
            _budget.CancelAfter(budget);
            _scope = HttpPipeline.CreateHttpMessagePropertiesScope(new Dictionary<string, object?> { [RequestTries.Property] = Tries });
        }

        public RequestTries Tries { get; } = new();

        public CancellationToken Token => _budget.Token;

        public void Dispose()
        {
            _scope.Dispose();
            _budget.Dispose();
        }
    }
}

/// <summary>What a blob's request may say of the blob.</summary>
internal static class BlobAnswers
{
    public static bool IsMissing(this RequestFailedException failed) => failed.ErrorCode == BlobErrorCode.BlobNotFound;

    public static bool IsConflict(this RequestFailedException failed) =>
        failed.ErrorCode == BlobErrorCode.ConditionNotMet || failed.ErrorCode == BlobErrorCode.BlobAlreadyExists;

    public static bool IsEmpty(this RequestFailedException failed) => failed.ErrorCode == BlobErrorCode.InvalidRange;

    public static bool HasLostBlocks(this RequestFailedException failed) => failed.ErrorCode == BlobErrorCode.InvalidBlockList;

    public static bool IsAboutTheBlob(this RequestFailedException failed) =>
        failed.IsMissing() || failed.IsConflict() || failed.IsEmpty() || failed.HasLostBlocks();
}
