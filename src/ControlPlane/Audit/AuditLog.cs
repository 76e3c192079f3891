using System.Text.Json;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Ports;
using FedRLora.ControlPlane.Views;
using Microsoft.Extensions.Logging;

namespace FedRLora.ControlPlane.Audit;

/// <summary>
/// The record of what is done through this silo: a line is in the store, and names the one before, when what was asked begins.
/// </summary>
/// <param name="silo">The silo.</param>
/// <param name="store">Where the lines are kept.</param>
/// <param name="time">The time.</param>
/// <param name="log">Where the lines stand too.</param>
internal sealed partial class AuditLog(string silo, AuditStore store, TimeProvider time, ILogger<AuditLog> log) : IDisposable
{
    private const int MostConflicts = 8;
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);
    private readonly string _silo = Identifiers.Of(silo);
    private readonly SemaphoreSlim _one = new(1);
    private (int Number, string Sha256)? _last;

    /// <summary>Adds a line.</summary>
    /// <param name="line">The line, of which number, digest, silo and time are put in.</param>
    /// <returns>Its number.</returns>
    /// <exception cref="AuditUnavailableException">It could not be written.</exception>
    public async Task<int> AddAsync(AuditLine line)
    {
        using var enough = new CancellationTokenSource(Patience, time);
        try
        {
            await _one.WaitAsync(enough.Token);
        }
        catch (OperationCanceledException e)
        {
            throw new AuditUnavailableException("the store of runs does not answer", e);
        }

        try
        {
            return await AddAsync(line, enough.Token);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or OperationCanceledException or TimeoutException
            or BlobConflictException)
        {
            _last = null; // the line may be there although nobody heard so
            throw new AuditUnavailableException(e is OperationCanceledException ? "the store of runs does not answer" : e.Message, e);
        }
        finally
        {
            _one.Release();
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _one.Dispose();

    private async Task<int> AddAsync(AuditLine line, CancellationToken cancellationToken)
    {
        for (var tries = 1; ; tries++)
        {
            if (_last is null)
            {
                var found = await store.LastAsync(_silo, cancellationToken);
                _last = found is var (number, bytes) ? (number, AuditChain.DigestOf(bytes)) : (0, AuditLine.NoDigest);
            }

            var next = line with { Silo = _silo, Number = _last.Value.Number + 1, Previous = _last.Value.Sha256, At = time.GetUtcNow() };
            byte[] written = [.. JsonSerializer.SerializeToUtf8Bytes(next, Json.Lines), (byte)'\n'];
            try
            {
                await store.AddAsync(_silo, next.Number, written, cancellationToken);
            }
            catch (BlobConflictException) when (tries < MostConflicts)
            {
                _last = null; // another process of this name goes on with the same chain
                continue;
            }

            _last = (next.Number, AuditChain.DigestOf(written));
            LogLine(log, next.Number, next.What, next.Route, next.Run, next.Client, next.Who?.Name, next.Who?.By, next.Who?.Credential,
                next.From, next.Status);
            return next.Number;
        }
    }

    [LoggerMessage(731, LogLevel.Information,
        "audit {Number}: {What} {Route} run {Run} client {Client}, by {Who} ({By}, {Credential}) from "
        + "{From}, status {Status}")]
    private static partial void LogLine(ILogger log, int number, AuditEvent what, string route, string? run, string? client, string? who,
        string? by, string? credential, string from, int? status);
}

/// <summary>What was asked is not done, since nobody would know of it.</summary>
internal sealed class AuditUnavailableException(string why, Exception innerException)
    : Exception($"not done: its line in the audit record cannot be written: {why}", innerException);
