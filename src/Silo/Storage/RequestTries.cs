using System.Globalization;
using Azure.Core;
using Azure.Core.Pipeline;

namespace FedRLora.Silo.Storage;

/// <summary>
/// What the tries of one request have met: when its time is over, the pipeline says no more than that it was cancelled. HEAD
/// answers carry no text, so a status is noted with its reason phrase.
/// </summary>
internal sealed class RequestTries
{
    /// <summary>Where a message carries them.</summary>
    public const string Property = "FedRLora.Tries";

    /// <summary>How often the request was sent.</summary>
    public int Tries { get; private set; }

    /// <summary>Why the last try failed; null: it did not.</summary>
    public string? LastFailure { get; private set; }

    /// <summary>Fills them; belongs after the retry policy.</summary>
    public sealed class Policy : HttpPipelinePolicy
    {
        /// <inheritdoc/>
        public override async ValueTask ProcessAsync(HttpMessage message, ReadOnlyMemory<HttpPipelinePolicy> pipeline)
        {
            var tries = Begin(message);
            try
            {
                await ProcessNextAsync(message, pipeline).ConfigureAwait(false);
                Answered(tries, message);
            }
            catch (Exception e)
            {
                Failed(tries, message, e);
                throw;
            }
        }

        /// <inheritdoc/>
        public override void Process(HttpMessage message, ReadOnlyMemory<HttpPipelinePolicy> pipeline)
        {
            var tries = Begin(message);
            try
            {
                ProcessNext(message, pipeline);
                Answered(tries, message);
            }
            catch (Exception e)
            {
                Failed(tries, message, e);
                throw;
            }
        }

        private static RequestTries? Begin(HttpMessage message)
        {
            var tries = message.TryGetProperty(Property, out var found) ? found as RequestTries : null;
            if (tries is not null) tries.Tries++;
            return tries;
        }

        private static void Answered(RequestTries? tries, HttpMessage message)
        {
            if (tries is not null)
                tries.LastFailure = message.Response.IsError
                    ? string.Create(CultureInfo.InvariantCulture, $"{message.Response.Status} {message.Response.ReasonPhrase}") : null;
        }

        private static void Failed(RequestTries? tries, HttpMessage message, Exception exception)
        {
            if (tries is null) return;
            if (exception is not OperationCanceledException) tries.LastFailure = exception.Message;
            else if (!message.CancellationToken.IsCancellationRequested || tries.LastFailure is null)
                tries.LastFailure = "the connection hangs";
        }
    }
}
