using Microsoft.Extensions.Logging;

namespace FedRLora.Pki;

/// <summary>Looks every few seconds for what has changed in an identity's files, and closes the connections that are refused now.</summary>
public sealed partial class IdentityUpkeep : IAsyncDisposable
{
    /// <summary>How often it looks.</summary>
    public static readonly TimeSpan Every = TimeSpan.FromSeconds(5);

    private readonly CancellationTokenSource _stop = new();
    private readonly Task _work;

    /// <summary>Begins.</summary>
    /// <param name="identity">The identity; several may look after one.</param>
    /// <param name="connections">Connections that it judges.</param>
    /// <param name="time">The time.</param>
    /// <param name="log">Where it tells what it could not do.</param>
    public IdentityUpkeep(TlsIdentity identity, OpenConnections connections, TimeProvider time, ILogger log) =>
        _work = Task.Run(() => WorkAsync(identity, connections, time, log));

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        await _work;
        _stop.Dispose();
    }

    private async Task WorkAsync(TlsIdentity identity, OpenConnections connections, TimeProvider time, ILogger log)
    {
        using var timer = new PeriodicTimer(Every, time);
        try
        {
            while (await timer.WaitForNextTickAsync(_stop.Token))
            {
                try
                {
                    identity.Reload();
                    connections.CloseRefused();
                }
#pragma warning disable CA1031 // whatever it is, it must not be the last time that anybody looks
                catch (Exception e)
#pragma warning restore CA1031
                {
                    LogFailed(log, e);
                }
            }
        }
        catch (OperationCanceledException)
        {
            // it was told to stop
        }
    }

    [LoggerMessage(LogLevel.Error, "the certificates could not be looked at again; they will be in a moment")]
    private static partial void LogFailed(ILogger log, Exception exception);
}
