using Orleans.Clustering.Redis;
using StackExchange.Redis;

namespace FedRLora.Silo;

/// <summary>The Redis server behind a <see cref="ClusterLocation.Redis"/>.</summary>
public static class RedisMembership
{
    /// <summary>The environment variable with the server's password; without it none is sent.</summary>
    public const string PasswordVariable = "FEDRLORA_REDIS_PASSWORD";

    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(3);
    private static readonly string[] NotYet = ["LOADING", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "BUSY"];
    private static readonly TimeSpan TryAgainAfter = TimeSpan.FromSeconds(1);

    /// <summary>How to connect; the password comes from the environment.</summary>
    public static ConfigurationOptions Configuration(ClusterLocation.Redis redis) => new()
    {
        EndPoints = { { redis.Host, redis.Port } },
        DefaultDatabase = redis.Database,
        Password = Environment.GetEnvironmentVariable(PasswordVariable) is { Length: > 0 } password ? password : null,
        ConnectTimeout = (int)Patience.TotalMilliseconds,
        ConnectRetry = 0, // of the first connection; a lost one is opened again for as long as it takes
        // not ever more slowly: a server that is back is found at once
        ReconnectRetryPolicy = new LinearRetry((int)TryAgainAfter.TotalMilliseconds),
        ClientName = SiloHost.ServiceId,
    };

    /// <summary>Makes sure that the server answers, before anything is built on it.</summary>
    /// <exception cref="ClusterUnavailableException">It does not, or refuses the password.</exception>
    public static async Task RequireAsync(ClusterLocation.Redis redis, CancellationToken cancellationToken)
    {
        try
        {
            await using var connection = await ConnectionMultiplexer.ConnectAsync(Configuration(redis))
                .WaitAsync(Patience * 2, cancellationToken);
            await connection.GetDatabase().KeyExistsAsync(SiloHost.ServiceId).WaitAsync(Patience, cancellationToken);
        }
        catch (Exception e) when (IsRefusal(e))
        {
            throw new ClusterUnavailableException(
                $"Redis at {redis} refuses the password or the database; the password is read from {PasswordVariable}", e);
        }
        catch (Exception e) when (e is RedisException or TimeoutException)
        {
            throw new ClusterUnavailableException($"no Redis answers at {redis}; start one, or name another with --cluster", e);
        }
    }

    /// <summary>Whether an exception says that the server does not answer, and not that it refuses.</summary>
    internal static bool IsAway(Exception exception)
    {
        for (var e = exception; e is not null; e = e.InnerException)
        {
            if (e is RedisConnectionException or TimeoutException) return true;
            // it is starting, or has lost what it depends on: it says so instead of answering
            if (e is RedisServerException && NotYet.Any(word => e.Message.StartsWith(word, StringComparison.Ordinal))) return true;
        }

        return false;
    }

    /// <summary>One connection for however often the membership is opened.</summary>
    internal static Func<RedisClusteringOptions, Task<(IConnectionMultiplexer Multiplexer, bool IsShared)>> Shared(
        ClusterLocation.Redis redis)
    {
        IConnectionMultiplexer? connection = null;
        return async _ => (connection ??= await ConnectionMultiplexer.ConnectAsync(Configuration(redis)), true);
    }

    private static bool IsRefusal(Exception exception)
    {
        for (var e = exception; e is not null; e = e.InnerException)
        {
            if (e is RedisServerException or RedisConnectionException { FailureType: ConnectionFailureType.AuthenticationFailure })
                return true;
        }

        return false;
    }
}

/// <summary>What keeps the membership of the silos cannot be used.</summary>
public sealed class ClusterUnavailableException(string message, Exception? innerException = null) : Exception(message, innerException);
