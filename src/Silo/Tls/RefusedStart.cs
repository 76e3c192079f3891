using FedRLora.Silo.Clustering;
using Microsoft.Extensions.Hosting;
using Orleans.Runtime;

namespace FedRLora.Silo.Tls;

/// <summary>
/// Ends a silo that nobody lets in with a line. Others declare it dead while it tries to join, and Orleans would end the process with a
/// dump of its stack.
/// </summary>
internal sealed class RefusedStart(
    IFatalErrorHandler otherwise, TlsRefusals refusals, TlsSettings settings, SiloEnding ending, IHostApplicationLifetime lifetime)
    : IFatalErrorHandler
{
    /// <inheritdoc/>
    public bool IsUnexpected(Exception exception) => otherwise.IsUnexpected(exception);

    /// <inheritdoc/>
    public void OnFatalException(object? sender, string? context, Exception? exception)
    {
        if (!lifetime.ApplicationStarted.IsCancellationRequested && refusals.Last is { } refusal)
            ending.End($"silo {settings.Silo} could not join: {refusal}");
        else
            otherwise.OnFatalException(sender, context, exception);
    }
}
