using System.Net;
using FedRLora.Abstractions;

namespace FedRLora.ControlPlane.Access;

/// <summary>Whose signed tokens are accepted.</summary>
/// <param name="Authority">The issuer, below which its discovery document lies.</param>
/// <param name="Audience">Whom a token has to be made for.</param>
/// <param name="RoleClaim">The claim with the roles.</param>
public sealed record OidcOptions(Uri Authority, string Audience, string RoleClaim)
{
    /// <summary>The claim with the roles, unless told otherwise.</summary>
    public const string DefaultRoleClaim = "roles";

    /// <summary>Where the discovery document lies (OpenID Connect Discovery 1.0, section 4).</summary>
    public string Discovery => $"{Authority.AbsoluteUri.TrimEnd('/')}/.well-known/openid-configuration";

    /// <summary>Reads an authority.</summary>
    /// <exception cref="BadInputException">It is none, or its keys would come in the clear.</exception>
    public static Uri ParseAuthority(string text)
    {
        if (!Uri.TryCreate(text, UriKind.Absolute, out var uri) || uri.Scheme is not ("http" or "https") || uri.Host.Length == 0
            || uri.UserInfo.Length > 0 || uri.Query.Length > 0 || uri.Fragment.Length > 0)
            throw new BadInputException($"--oidc: \"{BadInputException.Shown(text)}\" is no authority; write the issuer's address, as "
                + "https://login.example.org/tenant");
        var isLoopback = uri.Host == "localhost" || (IPAddress.TryParse(uri.Host.Trim('[', ']'), out var ip) && IPAddress.IsLoopback(ip));
        return uri.Scheme == "https" || isLoopback
            ? uri
            : throw new BadInputException($"--oidc: {BadInputException.Shown(text)} is plain http, where anybody on the way could put "
                + "other keys; use https");
    }
}
