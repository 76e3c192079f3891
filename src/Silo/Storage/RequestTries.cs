using System.Globalization;
using Azure.Core;
using Azure.Core.Pipeline;

namespace FedRLora.Silo.Storage;

/// <summary>
/// What the tries of one request have met: when its time is over, the pipeline says no more than that it was cancelled. HEAD
/// answers carry no text, so a status is noted with its reason phrase.
/// </summary>
internal sealed class TryNotes
{
    /// <summary>Where a message carries its notes.</summary>
    public const string Property = "FedRLora.Tries";

    /// <summary>How often the request was sent.</summary>
    public int Tries { get; private set; }

    /// <summary>Why the last try failed; null: it did not.</summary>
    public string? LastFailure { get; private set; }

    /// <summary>Fills the notes; belongs after the retry policy.</summary>
    public sealed class Policy : HttpPipelinePolicy
    {
        /// <inheritdoc/>
        public override async ValueTask ProcessAsync(HttpMessage message, ReadOnlyMemory<HttpPipelinePolicy> pipeline)
        {
            var notes = Begin(message);
            try
            {
                await ProcessNextAsync(message, pipeline).ConfigureAwait(false);
                Answered(notes, message);
            }
            catch (Exception e)
            {
                Failed(notes, message, e);
                throw;
            }
        }

        /// <inheritdoc/>
        public override void Process(HttpMessage message, ReadOnlyMemory<HttpPipelinePolicy> pipeline)
        {
            var notes = Begin(message);
            try
            {
                ProcessNext(message, pipeline);
                Answered(notes, message);
            }
            catch (Exception e)
            {
                Failed(notes, message, e);
                throw;
            }
        }

        private static TryNotes? Begin(HttpMessage message)
        {
            var notes = message.TryGetProperty(Property, out var found) ? found as TryNotes : null;
            if (notes is not null) notes.Tries++;
            return notes;
        }

        private static void Answered(TryNotes? notes, HttpMessage message)
        {
            if (notes is not null)
                notes.LastFailure = message.Response.IsError
                    ? string.Create(CultureInfo.InvariantCulture, $"{message.Response.Status} {message.Response.ReasonPhrase}") : null;
        }

        private static void Failed(TryNotes? notes, HttpMessage message, Exception exception)
        {
            if (notes is null) return;
            if (exception is not OperationCanceledException) notes.LastFailure = exception.Message;
            else if (!message.CancellationToken.IsCancellationRequested || notes.LastFailure is null)
                notes.LastFailure = "the connection hangs";
        }
    }
}
