using System.Globalization;
using FedRLora.Abstractions;

namespace FedRLora.Silo;

/// <summary>Where the silos of a cluster, and those who look for them, find one another.</summary>
public abstract record ClusterLocation
{
    private const int RedisPort = 6379;
    private const int LastDatabase = 9999;

    private ClusterLocation()
    {
    }

    /// <summary>What <c>--cluster</c> accepts.</summary>
    public const string Forms = "redis://HOST:PORT[/DB] or localhost";

    /// <summary>The first silo of this machine keeps the membership in its memory.</summary>
    public sealed record Localhost : ClusterLocation
    {
        /// <inheritdoc/>
        public override string ToString() => "localhost";
    }

    /// <summary>A Redis server keeps the membership; no silo is more than another.</summary>
    /// <param name="Host">Its host.</param>
    /// <param name="Port">Its port.</param>
    /// <param name="Database">Its database, from 0.</param>
    public sealed record Redis(string Host, int Port, int Database) : ClusterLocation
    {
        /// <inheritdoc/>
        public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"redis://{Host}:{Port}")
            + (Database == 0 ? "" : string.Create(CultureInfo.InvariantCulture, $"/{Database}"));
    }

    /// <summary>Reads <see cref="Forms"/>.</summary>
    /// <exception cref="BadInputException">It is neither; a password is never repeated.</exception>
    public static ClusterLocation Parse(string text)
    {
        if (text == "localhost") return new Localhost();
        if (text.Contains('@', StringComparison.Ordinal))
            throw new BadInputException("--cluster takes no user and no password, which others on this machine could read: "
                + $"put the password in {RedisMembership.PasswordVariable}");
        if (!Uri.TryCreate(text, UriKind.Absolute, out var uri) || uri.Scheme != "redis" || uri.Host.Length == 0 || uri.Query.Length > 0
            || uri.Fragment.Length > 0)
            throw new BadInputException($"--cluster: '{Shown(text)}' is not {Forms}");
        var path = uri.AbsolutePath.Trim('/');
        var database = 0;
        if (path.Length > 0
            && (!int.TryParse(path, NumberStyles.None, CultureInfo.InvariantCulture, out database) || database > LastDatabase))
            throw new BadInputException($"--cluster: the database of '{text}' is not a whole number from 0 to {LastDatabase}");
        var port = uri.Port < 0 ? RedisPort : uri.Port;
        return port > 0
            ? new Redis(uri.Host, port, database)
            : throw new BadInputException($"--cluster: the port of '{text}' is not from 1 to {ushort.MaxValue}");
    }

    // A connection string's password would stand behind one of these.
    private static string Shown(string text) => text.IndexOfAny(['?', ',', ';', '=']) is var end and >= 0 ? text[..end] + "..." : text;
}
