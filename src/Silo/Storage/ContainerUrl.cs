using FedRLora.Abstractions;

namespace FedRLora.Silo.Storage;

/// <summary>The parts of a container's URL.</summary>
/// <param name="Account">The account's blob endpoint, without a slash at its end.</param>
/// <param name="Container">The container's name.</param>
/// <param name="Prefix">What stands before every key: empty, or segments that end with '/'.</param>
/// <param name="Sas">The shared access signature of its query; null: none.</param>
internal sealed record ContainerUrl(string Account, string Container, string Prefix, string? Sas)
{
    private const int ShortestName = 3;
    private const int LongestName = 63;

    /// <summary>The URL as it may be shown.</summary>
    public string Name => $"{Account}/{Container}/{Prefix}".TrimEnd('/');

    /// <summary>Whether what is sent is encrypted; a token may not be sent otherwise.</summary>
    public bool IsEncrypted => Account.StartsWith("https:", StringComparison.Ordinal);

    public static ContainerUrl Parse(StoreRole role, string location, string forms)
    {
        var shown = BadInputException.Shown(location.Split('?')[0]);
        BadInputException Bad(string why) => new($"{role.Option}: \"{shown}\" {why}.");
        if (!Uri.TryCreate(location, UriKind.Absolute, out var url) || (url.Scheme != Uri.UriSchemeHttps && url.Scheme != Uri.UriSchemeHttp)
            || url.Host.Length == 0)
            throw Bad($"is not a location; {forms}");
        if (url.UserInfo.Length > 0)
        {
            shown = url.Host; // a password has no place in a message
            throw Bad("carries a user name; give credentials by " + role.ConnectionStringVariable);
        }

        if (url.Fragment.Length > 0) throw Bad("has a fragment; remove what follows '#'");
        if (url.Scheme == Uri.UriSchemeHttp && !url.IsLoopback) throw Bad("would be sent in the clear; use https");

        // An account is the first part of a host's name or, as Azurite has it, of the path.
        var segments = url.AbsolutePath.Trim('/').Split('/', StringSplitOptions.None);
        var account = url.IsLoopback ? 1 : 0;
        if (segments.Length <= account || segments.Any(static segment => segment.Length == 0))
            throw Bad($"names no container; {(account == 1 ? "use http://127.0.0.1:PORT/ACCOUNT/CONTAINER[/PREFIX]" : forms)}");
        var container = segments[account];
        if (!IsContainer(container))
            throw Bad($"names the container \"{BadInputException.Shown(container)}\"; use {ShortestName} to {LongestName} small letters, "
                + "digits and single dashes");
        var prefix = string.Join('/', segments[(account + 1)..]);
        if (prefix.Length > 0 && !BlobKeys.IsKey(prefix))
            throw Bad("has a prefix that is none; use letters, digits, dot, dash and underscore, and no dot first");

        // a name's first part would be an account
        var host = url.Host == "localhost" ? url.Authority.Replace("localhost", "127.0.0.1", StringComparison.Ordinal) : url.Authority;
        return new ContainerUrl($"{url.Scheme}://{host}{(account == 1 ? "/" + segments[0] : "")}", container,
            prefix.Length == 0 ? "" : prefix + "/", SasOf(url.Query, Bad));
    }

    /// <summary>Whether a text looks like a shared access signature.</summary>
    public static bool IsSas(string text) =>
        text.TrimStart('?').Split('&').Any(static part => part.StartsWith("sig=", StringComparison.Ordinal) && part.Length > 4);

    private static string? SasOf(string query, Func<string, BadInputException> bad) => query switch
    {
        "" or "?" => null,
        _ when IsSas(query) => query[1..],
        _ => throw bad("has a query that is no shared access signature; it should contain sig="),
    };

    private static bool IsContainer(string name) =>
        name.Length is >= ShortestName and <= LongestName
        && name.All(static c => char.IsAsciiLetterLower(c) || char.IsAsciiDigit(c) || c == '-')
        && name[0] != '-' && name[^1] != '-' && !name.Contains("--", StringComparison.Ordinal);
}
