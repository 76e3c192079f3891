using System.Net.Security;
using System.Security.Authentication;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using FedRLora.Abstractions;
using FedRLora.Pki;
using Orleans.Clustering.Redis;
using StackExchange.Redis;

namespace FedRLora.Silo;

/// <summary>The Redis server behind a <see cref="ClusterLocation.Redis"/>.</summary>
public static class RedisMembership
{
    /// <summary>The environment variable with the server's password; without it none is sent.</summary>
    public const string PasswordVariable = "FEDRLORA_REDIS_PASSWORD";

    /// <summary>The environment variable with the user of the server's access list; without it the default one.</summary>
    public const string UserVariable = "FEDRLORA_REDIS_USER";

    /// <summary>The environment variable with the file of the authorities that may have issued the server's certificate.</summary>
    public const string AuthoritiesVariable = "FEDRLORA_REDIS_CA";

    /// <summary>The environment variable with the file of this side's certificate.</summary>
    public const string CertificateVariable = "FEDRLORA_REDIS_CERT";

    /// <summary>The environment variable with the file of its key.</summary>
    public const string KeyVariable = "FEDRLORA_REDIS_KEY";

    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(3);
    private static readonly TimeSpan PatienceOfHandshake = TimeSpan.FromSeconds(8); // a busy machine, a server far away
    private static readonly string[] NotYet = ["LOADING", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "BUSY"];
    private static readonly TimeSpan TryAgainAfter = TimeSpan.FromSeconds(1);

    /// <summary>How to connect; password, user and files come from the environment.</summary>
    /// <exception cref="BadInputException">A file cannot be used.</exception>
    public static ConfigurationOptions Configuration(ClusterLocation.Redis redis) =>
        Configuration(redis, Environment.GetEnvironmentVariable, static _ => { });

    /// <summary>Makes sure that the server answers, before anything is built on it.</summary>
    /// <exception cref="BadInputException">A file that the environment names cannot be used.</exception>
    /// <exception cref="ClusterUnavailableException">It does not, its certificate is not accepted, or it refuses.</exception>
    public static Task RequireAsync(ClusterLocation.Redis redis, CancellationToken cancellationToken) =>
        RequireAsync(redis, Environment.GetEnvironmentVariable, cancellationToken);

    /// <summary>The same in an environment.</summary>
    internal static async Task RequireAsync(
        ClusterLocation.Redis redis, Func<string, string?> environment, CancellationToken cancellationToken)
    {
        string? refused = null;
        try
        {
            var options = Configuration(redis, environment, reason => refused = reason);
            await using var connection = await ConnectionMultiplexer.ConnectAsync(options)
                .WaitAsync(PatienceWith(redis) * 2, cancellationToken);
            await connection.GetDatabase().KeyExistsAsync(SiloHost.ServiceId).WaitAsync(Patience, cancellationToken);
        }
        catch (Exception e) when (refused is not null && e is (RedisException or TimeoutException or AuthenticationException))
        {
            throw new ClusterUnavailableException($"the certificate of Redis at {redis} is not accepted: {refused}", e);
        }
        catch (Exception e) when (redis.Tls && HandshakeFailure(e) is { } failure)
        {
            throw new ClusterUnavailableException($"no TLS connection to Redis at {redis}: {failure}; "
                + $"a server that asks for certificates takes one by {CertificateVariable} and {KeyVariable}", e);
        }
        catch (Exception e) when (IsRefusal(e))
        {
            throw new ClusterUnavailableException($"Redis at {redis} refuses the password or the database; the password is read from "
                + $"{PasswordVariable}, the user from {UserVariable}", e);
        }
        catch (Exception e) when (e is RedisException or TimeoutException)
        {
            throw new ClusterUnavailableException($"no Redis answers at {redis}; start one, or name another with --cluster"
                + (redis.Tls ? $" (or it wants another certificate than {CertificateVariable} has, or no TLS)" : ""), e);
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

    private static TimeSpan PatienceWith(ClusterLocation.Redis redis) => redis.Tls ? PatienceOfHandshake : Patience;

    /// <summary>How Redis is spoken to, with another environment.</summary>
    internal static ConfigurationOptions Configuration(
        ClusterLocation.Redis redis, Func<string, string?> environment, Action<string> refused)
    {
        string? Value(string variable) => environment(variable) is { Length: > 0 } value ? value : null;

        var options = new ConfigurationOptions
        {
            EndPoints = { { redis.Host, redis.Port } },
            DefaultDatabase = redis.Database,
            User = Value(UserVariable),
            Password = Value(PasswordVariable),
            ConnectTimeout = (int)PatienceWith(redis).TotalMilliseconds,
            ConnectRetry = 0, // of the first connection; a lost one is opened again for as long as it takes
            // not ever more slowly: a server that is back is found at once
            ReconnectRetryPolicy = new LinearRetry((int)TryAgainAfter.TotalMilliseconds),
            ClientName = SiloHost.ServiceId,
        };
        if (!redis.Tls)
        {
            return new[] { AuthoritiesVariable, CertificateVariable, KeyVariable }.FirstOrDefault(name => Value(name) is not null)
                is { } needless
                ? throw new BadInputException($"{needless} is set, and {redis} is spoken to without TLS; give --cluster rediss://...")
                : options;
        }

        (options.Ssl, options.SslHost) = (true, redis.Host.Trim('[', ']'));
        options.SslProtocols = SslProtocols.Tls12 | SslProtocols.Tls13;
        options.CheckCertificateRevocation = false; // else a site that reaches no server of revocation lists has no membership
        var authorities = Renewed(() => Value(AuthoritiesVariable) is { } file ? ReadAuthorities(file) : null);
        options.CertificateValidation += (_, certificate, chain, errors) =>
        {
            if (Refusal(redis, certificate, chain, errors, authorities()) is not { } reason) return true;
            refused(reason);
            return false;
        };
        var pair = Renewed(() => Pair(Value(CertificateVariable), Value(KeyVariable)));
        if (pair() is not null) options.CertificateSelection += (_, _, _, _, _) => pair()!;
        return options;
    }

    // What was renewed counts at the next connection. Half a file leaves what was there, which the server then accepts or refuses.
    private static Func<T> Renewed<T>(Func<T> read)
    {
        var last = read();
        return () =>
        {
            try
            {
                return last = read();
            }
            catch (BadInputException)
            {
                return last;
            }
        };
    }

    // Why the server's certificate is not accepted; null where it is.
    private static string? Refusal(ClusterLocation.Redis redis, X509Certificate? certificate, X509Chain? chain, SslPolicyErrors errors,
        X509Certificate2Collection? authorities)
    {
        if (certificate is not X509Certificate2 shown) return "it showed none";
        if (errors.HasFlag(SslPolicyErrors.RemoteCertificateNameMismatch)) return $"it is not for {redis.Host}";
        if (authorities is null)
        {
            return errors.HasFlag(SslPolicyErrors.RemoteCertificateChainErrors)
                ? $"none of this machine's authorities vouches for it ({Status(chain)}); name others by {AuthoritiesVariable}"
                : null;
        }

        using var own = new X509Chain();
        own.ChainPolicy.TrustMode = X509ChainTrustMode.CustomRootTrust;
        own.ChainPolicy.RevocationMode = X509RevocationMode.NoCheck;
        own.ChainPolicy.DisableCertificateDownloads = true;
        own.ChainPolicy.CustomTrustStore.AddRange(authorities);
        own.ChainPolicy.ExtraStore.AddRange(authorities);
        if (chain is not null) own.ChainPolicy.ExtraStore.AddRange(chain.ChainPolicy.ExtraStore);
        own.ChainPolicy.ApplicationPolicy.Add(Chains.UsageOf(CertificateUse.Server));
        return own.Build(shown) ? null : Chains.Explain(own, shown, CertificateUse.Server, "it",
            $"none of the authorities in {AuthoritiesVariable} vouches for it ({Status(own)})", TimeProvider.System.GetUtcNow());
    }

    private static string Status(X509Chain? chain) =>
        string.Join(", ", chain?.ChainStatus.Select(static one => one.Status).Distinct() ?? []);

    private static X509Certificate2Collection ReadAuthorities(string file)
    {
        var all = new X509Certificate2Collection();
        Read(AuthoritiesVariable, file, () => all.ImportFromPemFile(file));
        return all.Count > 0 ? all : throw new BadInputException($"{AuthoritiesVariable}: {file} holds no certificate in PEM");
    }

    private static X509Certificate2? Pair(string? certificate, string? key)
    {
        if (certificate is null && key is null) return null;
        if (certificate is null || key is null)
            throw new BadInputException($"{CertificateVariable} and {KeyVariable} go together; "
                + $"{(key is null ? KeyVariable : CertificateVariable)} is not set");
        X509Certificate2? pair = null;
        Read(CertificateVariable, $"{certificate} with the key {key}", () =>
        {
            using var read = X509Certificate2.CreateFromPemFile(certificate, key);
            // the key of a PEM file is of this object alone; TLS wants one that can be opened again
            pair = X509CertificateLoader.LoadPkcs12(read.Export(X509ContentType.Pkcs12), password: null);
        });
        return pair;
    }

    private static void Read(string variable, string what, Action read)
    {
        try
        {
            read();
        }
        catch (Exception e) when (e is CryptographicException or ArgumentException or IOException or UnauthorizedAccessException)
        {
            throw new BadInputException($"{variable}: {what} cannot be read: {e.Message.Split('\n', 2)[0].TrimEnd()}", e);
        }
    }

    private static string? HandshakeFailure(Exception exception)
    {
        for (var e = exception; e is not null; e = e.InnerException)
        {
            if (e is AuthenticationException) return (e.InnerException ?? e).Message.Split('\n', 2)[0].TrimEnd('.', '\r');
        }

        return null;
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
