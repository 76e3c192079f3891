using System.Globalization;
using System.Net;
using FedRLora.Abstractions;
using FedRLora.Silo.Storage;

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
    public const string Forms =
        "redis://HOST:PORT[/DB], rediss://HOST:PORT[/DB], https://ACCOUNT.table.core.windows.net/TABLE or localhost";

    /// <summary>Whether something outside of the silos keeps the membership, so that no silo is more than another.</summary>
    public bool IsOutside => this is not Localhost;

    /// <summary>Whether it is on loopback, so that it is another one on each machine.</summary>
    public bool IsOfThisMachine => this switch
    {
        Redis redis => IsLoopback(redis.Host),
        AzureTable table => IsLoopback(new Uri(table.Account).Host),
        _ => true,
    };

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
        /// <summary>Whether it is spoken to over TLS.</summary>
        public bool Tls { get; init; }

        /// <inheritdoc/>
        public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"redis{(Tls ? "s" : "")}://{Host}:{Port}")
            + (Database == 0 ? "" : string.Create(CultureInfo.InvariantCulture, $"/{Database}"));
    }

    /// <summary>Two tables of Azure Storage keep membership and reminders; no silo is more than another.</summary>
    /// <param name="Account">The account's table endpoint, without a slash at its end.</param>
    /// <param name="Table">The membership's table.</param>
    public sealed record AzureTable(string Account, string Table) : ClusterLocation
    {
        private const string OfReminders = "Reminders";

        /// <summary>How long <see cref="Table"/> may be: table names have at most 63 characters.</summary>
        public const int LongestTable = 63 - 9;

        /// <summary>The table of reminders.</summary>
        public string Reminders => Table + OfReminders;

        /// <summary>Whether what is sent is encrypted; a token may not be sent otherwise.</summary>
        public bool IsEncrypted => Account.StartsWith("https:", StringComparison.Ordinal);

        /// <inheritdoc/>
        public override string ToString() => $"{Account}/{Table}";
    }

    /// <summary>Reads <see cref="Forms"/>.</summary>
    /// <exception cref="BadInputException">It is none of them; a password is never repeated.</exception>
    public static ClusterLocation Parse(string text)
    {
        if (text == "localhost") return new Localhost();
        var isTable = text.StartsWith("http://", StringComparison.OrdinalIgnoreCase)
            || text.StartsWith("https://", StringComparison.OrdinalIgnoreCase);
        if (text.Contains('@', StringComparison.Ordinal))
            throw new BadInputException("--cluster takes no user and no password, which others on this machine could read: "
                + $"put the password in {(isTable ? StoreRole.Cluster.ConnectionStringVariable : RedisMembership.PasswordVariable)}"
                + (isTable ? "" : $" and the user in {RedisMembership.UserVariable}"));
        if (!Uri.TryCreate(text, UriKind.Absolute, out var uri) || uri.Host.Length == 0)
            throw new BadInputException($"--cluster: '{Shown(text)}' is not {Forms}");
        if (isTable) return TableOf(text, uri);
        if (uri.Scheme is not ("redis" or "rediss") || uri.Query.Length > 0 || uri.Fragment.Length > 0)
            throw new BadInputException($"--cluster: '{Shown(text)}' is not {Forms}");
        var path = uri.AbsolutePath.Trim('/');
        var database = 0;
        if (path.Length > 0
            && (!int.TryParse(path, NumberStyles.None, CultureInfo.InvariantCulture, out database) || database > LastDatabase))
            throw new BadInputException($"--cluster: the database of '{text}' is not a whole number from 0 to {LastDatabase}");
        var port = uri.Port < 0 ? RedisPort : uri.Port;
        return port > 0
            ? new Redis(uri.Host, port, database) { Tls = uri.Scheme == "rediss" }
            : throw new BadInputException($"--cluster: the port of '{text}' is not from 1 to {ushort.MaxValue}");
    }

    private static AzureTable TableOf(string text, Uri uri)
    {
        BadInputException Bad(string why) => new($"--cluster: '{Shown(text)}' {why}");
        if (uri.Query.Length > 0)
            throw Bad("carries a signature or another query, which others on this machine could read: "
                + $"put a shared access signature in {StoreRole.Cluster.SasVariable}");
        if (uri.Fragment.Length > 0) throw Bad("has a fragment; remove what follows '#'");
        if (uri.Scheme == Uri.UriSchemeHttp && !uri.IsLoopback) throw Bad("would be sent in the clear; use https");

        // An account is the first part of a host's name or, as Azurite has it, of the path.
        var segments = uri.AbsolutePath.Trim('/').Split('/');
        var account = uri.IsLoopback ? 1 : 0;
        if (segments.Length != account + 1 || segments.Any(static segment => segment.Length == 0))
            throw Bad("names no table; use " + (account == 1
                ? "http://127.0.0.1:PORT/ACCOUNT/TABLE" : "https://ACCOUNT.table.core.windows.net/TABLE"));
        var table = segments[account];
        if (table.Length is < 3 or > AzureTable.LongestTable || !char.IsAsciiLetter(table[0]) || !table.All(char.IsAsciiLetterOrDigit))
            throw Bad($"names the table \"{BadInputException.Shown(table)}\"; use 3 to {AzureTable.LongestTable} letters and digits, "
                + "a letter first");
        var host = uri.Host == "localhost" ? uri.Authority.Replace("localhost", "127.0.0.1", StringComparison.Ordinal) : uri.Authority;
        return new($"{uri.Scheme}://{host}{(account == 1 ? "/" + segments[0] : "")}", table);
    }

    private static bool IsLoopback(string host) =>
        host == "localhost" || (IPAddress.TryParse(host.Trim('[', ']'), out var address) && IPAddress.IsLoopback(address));

    // A connection string's password would stand behind one of these.
    private static string Shown(string text) => text.IndexOfAny(['?', ',', ';', '=']) is var end and >= 0 ? text[..end] + "..." : text;
}
