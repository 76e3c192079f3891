using FedRLora.Abstractions.Messages;
using Microsoft.Extensions.Logging;

namespace FedRLora.Grains.Clients;

internal sealed partial class ClientGrain
{
    [LoggerMessage(301, LogLevel.Information, "{Phase} round {Round} attempt {Attempt}: client {Client} on silo {Silo}, site {Site}")]
    private partial void LogStarted(RoundPhase phase, int round, int attempt, string client, string silo, string site);

    [LoggerMessage(302, LogLevel.Warning, "Client {Client} failed in round {Round}")]
    private partial void LogFailed(string client, int round, Exception exception);

    [LoggerMessage(303, LogLevel.Warning,
        "The report of client {Client} for round {Round} was not delivered; it is sent again when asked for")]
    private partial void LogReportLost(string client, int round, Exception exception);

    [LoggerMessage(304, LogLevel.Warning, "Client {Client} tries round {Round} again ({Retry}): {Reason}")]
    private partial void LogTriesAgain(string client, int round, int retry, string reason);

    [LoggerMessage(305, LogLevel.Warning, "Client {Client} cannot use a store in round {Round}: {Reason}")]
    private partial void LogStoreAway(string client, int round, string reason);

    [LoggerMessage(306, LogLevel.Warning, "Client {Client} had finished round {Round}, but {What} Its group trains again")]
    private partial void LogFilesLost(string client, int round, string what);
}
