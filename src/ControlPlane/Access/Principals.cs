using System.Security.Claims;
using Microsoft.AspNetCore.Authorization;

namespace FedRLora.ControlPlane.Access;

/// <summary>
/// Who calls, in claims: roles, and the sites that may be read. Whatever signs callers in (a token, a signed token, a certificate) says no
/// more than that, and routes ask for nothing else.
/// </summary>
public static class Principals
{
    /// <summary>A role that sees runs.</summary>
    public const string Viewer = "viewer";

    /// <summary>A role that also steers them.</summary>
    public const string Operator = "operator";

    /// <summary>A role of whoever administers sites: it sees runs, and reads what belongs to its own sites.</summary>
    public const string SiteAdmin = "site";

    /// <summary>The type of a claim that says by what its holder was signed in: the name of a token, the serial of a certificate.</summary>
    public const string CredentialClaim = "fedrlora.credential";

    /// <summary>The type of a claim that names a site which may be read; <see cref="EverySite"/> for all.</summary>
    public const string SiteClaim = "fedrlora.site";

    /// <summary>Stands for all sites.</summary>
    public const string EverySite = "*";

    /// <summary>A principal of a role.</summary>
    /// <param name="scheme">What signed it in.</param>
    /// <param name="name">Its name, for the record of what was done.</param>
    /// <param name="role">Its role.</param>
    /// <param name="sites">The sites that it may read.</param>
    public static ClaimsPrincipal Of(string scheme, string name, string role, params IEnumerable<string> sites) => new(new ClaimsIdentity(
        [new(ClaimTypes.Name, name), new(ClaimTypes.Role, role), .. sites.Select(static site => new Claim(SiteClaim, site))], scheme));

    /// <summary>Whether it may read what belongs to a site.</summary>
    public static bool MayRead(this ClaimsPrincipal principal, string site) =>
        principal.HasClaim(SiteClaim, EverySite) || principal.HasClaim(SiteClaim, site);

    /// <summary>What each policy asks of the claims.</summary>
    public static void Configure(AuthorizationOptions options)
    {
        options.AddPolicy(nameof(Policy.View), static policy => policy.RequireRole(Viewer, Operator, SiteAdmin));
        options.AddPolicy(nameof(Policy.Operate), static policy => policy.RequireRole(Operator));
        // which site it is follows from the route's client, when its run is known
        options.AddPolicy(nameof(Policy.ReadSite), static policy =>
            policy.RequireRole(Viewer, Operator, SiteAdmin).RequireClaim(SiteClaim));
        // a route without a policy is nobody's
        options.FallbackPolicy = new AuthorizationPolicyBuilder().RequireAssertion(static _ => false).Build();
    }
}
