using System.Security.Claims;
using FedRLora.Abstractions;
using FedRLora.Pki;

namespace FedRLora.ControlPlane.Access;

/// <summary>What somebody may do, as a token's line, a certificate or a signed token says it.</summary>
/// <param name="Views">Whether runs may be seen.</param>
/// <param name="Operates">Whether they may also be begun, steered and scored.</param>
/// <param name="Sites">The sites of which the holder is an administrator, and whose files may be read.</param>
public sealed record Rights(bool Views, bool Operates, IReadOnlyList<string> Sites)
{
    /// <summary>The forms of a role.</summary>
    public const string Forms = "viewer, operator, site:NAME";

    private const string SiteWord = "site:", ClaimPrefix = "fedrlora.", SiteClaim = "fedrlora.site.";

    /// <summary>Nothing.</summary>
    public static Rights None { get; } = new(false, false, []);

    /// <summary>Reads roles, separated by commas.</summary>
    /// <param name="where">What messages begin with.</param>
    /// <param name="text">The roles.</param>
    /// <exception cref="BadInputException">One is none.</exception>
    public static Rights Parse(string where, string text)
    {
        var rights = None;
        foreach (var word in text.Split(','))
        {
            rights = word switch
            {
                Principals.Viewer => rights with { Views = true },
                Principals.Operator => rights with { Operates = true },
                _ when word.StartsWith(SiteWord, StringComparison.Ordinal) =>
                    rights with { Sites = [.. rights.Sites, Identifiers.Check($"{where}: site", word[SiteWord.Length..])] },
                _ => throw new BadInputException($"{where}: \"{BadInputException.Shown(word)}\" is no role; use {Forms}"),
            };
        }

        return rights;
    }

    /// <summary>What the names in a certificate give: people theirs, a site's certificate that of its administrator.</summary>
    public static Rights Of(SanNames names) => new(names.Viewers.Count > 0, names.Operators.Count > 0, names.Sites);

    /// <summary>What values of a signed token's claim give; others mean something elsewhere.</summary>
    /// <param name="values"><c>fedrlora.viewer</c>, <c>fedrlora.operator</c>, <c>fedrlora.site.NAME</c>.</param>
    public static Rights OfClaims(IEnumerable<string> values)
    {
        var rights = None;
        foreach (var value in values)
        {
            if (value == ClaimPrefix + Principals.Viewer) rights = rights with { Views = true };
            else if (value == ClaimPrefix + Principals.Operator) rights = rights with { Operates = true };
            else if (value.StartsWith(SiteClaim, StringComparison.Ordinal) && Identifiers.IsValid(value[SiteClaim.Length..]))
                rights = rights with { Sites = [.. rights.Sites, value[SiteClaim.Length..]] };
        }

        return rights;
    }

    /// <summary>A principal with them.</summary>
    /// <param name="scheme">What signed it in.</param>
    /// <param name="name">Its name.</param>
    /// <param name="credential">What it showed, without what is secret in it.</param>
    public ClaimsPrincipal As(string scheme, string name, string credential)
    {
        IEnumerable<string> roles =
        [
            .. Views ? [Principals.Viewer] : (string[])[], .. Operates ? [Principals.Operator] : (string[])[],
            .. Sites.Count > 0 ? [Principals.SiteAdmin] : (string[])[],
        ];
        return new(new ClaimsIdentity(
            [
                new(ClaimTypes.Name, name), new(Principals.CredentialClaim, credential),
                .. roles.Select(static role => new Claim(ClaimTypes.Role, role)),
                .. Sites.Select(static site => new Claim(Principals.SiteClaim, site)),
            ],
            scheme));
    }

    /// <inheritdoc/>
    public override string ToString() => string.Join(',',
    [
        .. Views ? [Principals.Viewer] : (string[])[], .. Operates ? [Principals.Operator] : (string[])[],
        .. Sites.Select(static site => SiteWord + site),
    ]);
}
