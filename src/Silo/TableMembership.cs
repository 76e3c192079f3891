using System.Net;
using Azure;
using Azure.Core;
using Azure.Data.Tables;
using Azure.Identity;
using FedRLora.Abstractions;
using FedRLora.Silo.Storage;

namespace FedRLora.Silo;

/// <summary>The tables behind a <see cref="ClusterLocation.AzureTable"/>.</summary>
public static class TableMembership
{
    private const string BeingDeleted = "TableBeingDeleted"; // for half a minute and more after a table was deleted
    private const int RequestTimeout = (int)HttpStatusCode.RequestTimeout, TooManyRequests = (int)HttpStatusCode.TooManyRequests;
    private static readonly TimeSpan NetworkTimeout = TimeSpan.FromSeconds(5);
    private static readonly TimeSpan Pause = TimeSpan.FromMilliseconds(500);
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(20);

    /// <summary>The account's client; credentials come from the environment or are this machine's.</summary>
    /// <exception cref="BadInputException">Credentials are malformed, for another account, or missing.</exception>
    public static TableServiceClient Open(ClusterLocation.AzureTable table) => Find(table, Environment.GetEnvironmentVariable).Account;

    /// <summary>Makes sure that the tables are there and can be written, before anything is built on them.</summary>
    /// <exception cref="BadInputException">Credentials are malformed, for another account, or missing.</exception>
    /// <exception cref="ClusterUnavailableException">The account does not answer, or refuses.</exception>
    public static Task RequireAsync(ClusterLocation.AzureTable table, CancellationToken cancellationToken) =>
        RequireAsync(table, Environment.GetEnvironmentVariable, cancellationToken);

    /// <summary>The same in an environment.</summary>
    internal static async Task RequireAsync(
        ClusterLocation.AzureTable table, Func<string, string?> environment, CancellationToken cancellationToken)
    {
        var (account, credentials) = Find(table, environment);
        using var enough = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        enough.CancelAfter(Patience);
        try
        {
            foreach (var name in new[] { table.Table, table.Reminders })
            {
                await account.CreateTableIfNotExistsAsync(name, enough.Token);
                var rows = account.GetTableClient(name).QueryAsync<TableEntity>("PartitionKey eq ''", 1, null, enough.Token);
                await foreach (var _ in rows) break;
            }
        }
        catch (OperationCanceledException e) when (!cancellationToken.IsCancellationRequested)
        {
            throw Silent(table, e);
        }
        catch (Exception e) when (e is RequestFailedException or AuthenticationFailedException or AggregateException)
        {
            throw Explained(table, credentials, e);
        }
    }

    /// <summary>Makes the reminders' table again, which was deleted.</summary>
    internal static Task RestoreRemindersAsync(ClusterLocation.AzureTable table, CancellationToken cancellationToken) =>
        Open(table).CreateTableIfNotExistsAsync(table.Reminders, cancellationToken);

    /// <summary>Whether an exception says that the account does not answer, and not that it refuses.</summary>
    internal static bool IsAway(Exception exception)
    {
        for (var e = exception; e is not null; e = e.InnerException)
        {
            if (e is TimeoutException or HttpRequestException or IOException or CredentialUnavailableException) return true;
            if (e is RequestFailedException { Status: 0 or RequestTimeout or TooManyRequests or >= 500 }
                or RequestFailedException { ErrorCode: BeingDeleted })
                return true;
        }

        return false;
    }

    /// <summary>What opens the account: a connection string, a shared access signature, or the identity of this machine.</summary>
    internal static (TableServiceClient Account, string Credentials) Find(
        ClusterLocation.AzureTable table, Func<string, string?> environment)
    {
        var (role, options) = (StoreRole.Cluster, Options());
        if (Value(role.ConnectionStringVariable) is { } connection)
        {
            if (!Fits(role.ConnectionStringVariable, connection, out var account))
                throw new BadInputException($"{role.ConnectionStringVariable} is for {account}, but {role.Option} names {table.Account}; "
                    + "give both the same account");
            return (new(connection, options), $"the connection string in {role.ConnectionStringVariable}");
        }

        if (Value(role.SasVariable) is { } sas)
        {
            if (!ContainerUrl.IsSas(sas))
                throw new BadInputException($"{role.SasVariable}: not a shared access signature; it should contain sig=.");
            return (new(new Uri(table.Account), new AzureSasCredential(sas.TrimStart('?')), options),
                $"the shared access signature in {role.SasVariable}");
        }

        var shared = StoreRole.Job.ConnectionStringVariable;
        if (Value(shared) is { } stores && Fits(shared, stores, out _))
            return (new(stores, options), $"the connection string in {shared}");
        if (!table.IsEncrypted)
            throw new BadInputException(
                $"{role.Option}: {table} needs credentials; set {role.ConnectionStringVariable} or {role.SasVariable}.");
        return (new(new Uri(table.Account), StoreCredentials.Identity(), options),
            "this machine's identity (workload identity, managed identity, "
            + "the AZURE_* variables or az login) and its role Storage Table Data Contributor");

        string? Value(string variable) => environment(variable) is { } value && !string.IsNullOrWhiteSpace(value) ? value.Trim() : null;

        bool Fits(string variable, string text, out string account)
        {
            try
            {
                account = new TableServiceClient(text).Uri.GetLeftPart(UriPartial.Path).TrimEnd('/');
            }
            catch (Exception e) when (e is FormatException or ArgumentException or InvalidOperationException)
            {
                throw new BadInputException($"{variable}: not a connection string; "
                    + "it has the form DefaultEndpointsProtocol=https;AccountName=...;AccountKey=....");
            }

            return account.Equals(table.Account, StringComparison.OrdinalIgnoreCase);
        }
    }

    // Its own numbers of retries would hold up a silo that looks every few seconds.
    private static TableClientOptions Options() => new()
    {
        Retry = { Mode = RetryMode.Fixed, MaxRetries = 2, Delay = Pause, NetworkTimeout = NetworkTimeout },
    };

    /// <summary>What to do about an exception, in one line.</summary>
    internal static ClusterUnavailableException Explained(ClusterLocation.AzureTable table, string credentials, Exception exception)
    {
        if (IsAway(exception) && exception is not CredentialUnavailableException) return Silent(table, exception);
        var failed = exception as RequestFailedException;
        var why = failed is null
            ? exception.Message.Split('\n', 2)[0].Trim()
            : failed.ErrorCode ?? $"{failed.Status} {(HttpStatusCode)failed.Status}";
        return new($"the tables at {table} refuse {credentials}: {why}", exception);
    }

    private static ClusterUnavailableException Silent(ClusterLocation.AzureTable table, Exception exception) =>
        new($"no table service answers at {table}; start one, or name another with --cluster", exception);
}
