using System.Globalization;
using System.Security.Claims;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text;
using System.Text.Encodings.Web;
using FedRLora.Abstractions;
using FedRLora.Pki;
using Microsoft.AspNetCore.Authentication;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using Microsoft.IdentityModel.Tokens;

namespace FedRLora.ControlPlane.Access;

/// <summary>What a silo accepts as tokens.</summary>
public sealed class TokenOptions : AuthenticationSchemeOptions
{
    /// <summary>The scheme's name.</summary>
    public const string Scheme = "token";

    /// <summary>The operator's; empty for none.</summary>
    public string Operator { get; set; } = "";

    /// <summary>The viewer's; empty for none.</summary>
    public string Viewer { get; set; } = "";

    /// <summary>The port, which tells the cookies of servers on one host apart.</summary>
    public int Port { get; set; }

    /// <summary>
    /// Whether a browser that was let in shows the operator's token whenever it steers: where a token's file was named, others share it.
    /// </summary>
    public bool AsksBrowsers { get; set; }

    /// <summary>Whether other machines reach it: what belongs to a site is then for those whose credential names the site.</summary>
    public bool IsTls { get; set; }

    /// <summary>The name of the cookie of a browser that was let in; with the prefix, a browser takes it over TLS alone.</summary>
    public string Cookie => string.Create(CultureInfo.InvariantCulture, $"{(IsTls ? "__Host-" : "")}fedrlora-{Port}");
}

/// <summary>
/// Signs callers in by the one credential that counts: what <c>Authorization: Bearer</c> says, else the cookie of a browser that was let
/// in, else the certificate of the connection. Rights of two are never added up, and a token that is refused is refused whatever
/// certificate lies beside it.
/// </summary>
/// <param name="options">The tokens.</param>
/// <param name="logger">The logs.</param>
/// <param name="encoder">Of the framework.</param>
/// <param name="entrance">Browsers.</param>
/// <param name="known">Who is known.</param>
internal sealed class CallerHandler(
    IOptionsMonitor<TokenOptions> options, ILoggerFactory logger, UrlEncoder encoder, Entrance entrance, KnownCallers known)
    : AuthenticationHandler<TokenOptions>(options, logger, encoder)
{
    private const string Bearer = "Bearer ", Browser = "browser", Tokens = "tokens", Certificate = "certificate";
    private const string Unknown = "the token is not this server's";

    protected override async Task<AuthenticateResult> HandleAuthenticateAsync()
    {
        var headers = Request.Headers.Authorization;
        if (headers.Count > 1) return Refused("there are several Authorization headers: send one");
        if (headers is [{ Length: > 0 } header])
        {
            return header.StartsWith(Bearer, StringComparison.OrdinalIgnoreCase)
                ? await OfTokenAsync(header[Bearer.Length..].Trim()) : Refused(Unknown);
        }

        var session = Request.Cookies[Options.Cookie];
        if (session is not null && entrance.Of(session) is { } browser)
            return Admitted(OfBrowser(browser), () => entrance.Of(session) is not null);
        if (Context.Connection.ClientCertificate is { } shown) return OfCertificate(shown);
        return session is null ? AuthenticateResult.NoResult() : Refused("this browser is not let in any more: open prints a new address");
    }

    protected override Task HandleChallengeAsync(AuthenticationProperties properties)
    {
        if (Oidc.AwayIn(Context) is { } away) return Problem.WriteAsync(Context, StatusCodes.Status503ServiceUnavailable, away);
        Response.Headers.WWWAuthenticate = "Bearer";
        return Problem.WriteAsync(Context, StatusCodes.Status401Unauthorized, Context.Features.Get<Refusal>()?.Why
            ?? (Options.IsTls
                ? "no credential: send a token as Authorization: Bearer TOKEN, or connect with a certificate"
                : "no token: send that of the silo's token file as Authorization: Bearer TOKEN"));
    }

    protected override Task HandleForbiddenAsync(AuthenticationProperties properties) => Problem.WriteAsync(
        Context, StatusCodes.Status403Forbidden,
        Context.User.Identity is { AuthenticationType: Certificate, Name: var name } ? $"the certificate of {name} does not allow that"
            : "this token does not allow that");

    // Reads as whoever let it in; its cookie steers alone only where nobody named a token's file.
    private ClaimsPrincipal OfBrowser(ClaimsPrincipal principal) => Options.AsksBrowsers && HttpMethods.IsPost(Request.Method)
        ? Principals.Of(Browser, principal.Identity?.Name ?? "", Principals.Viewer, Principals.EverySite) : principal;

    private async Task<AuthenticateResult> OfTokenAsync(string shown)
    {
        // on loopback the machine's own operator, who could read the files of its sites as well
        string[] sites = Options.IsTls ? [] : [Principals.EverySite];
        if (IsSame(shown, Options.Operator))
            return Admitted(Principals.Of(TokenOptions.Scheme, "token of the operator", Principals.Operator, sites), static () => true);
        if (IsSame(shown, Options.Viewer)) return Admitted(Principals.Of(TokenOptions.Scheme, "token of the viewer", Principals.Viewer));
        if (known.Oidc is not null && Oidc.IsSigned(shown))
        {
            var signed = await Context.AuthenticateAsync(Oidc.Scheme);
            return signed.Succeeded ? Admitted(signed.Principal)
                : Refused($"the signed token is refused: {(signed.Failure is { } failure ? Reason(failure) : "it is none")}");
        }

        if (known.Tokens?.Find(shown) is not { } entry) return Refused(Unknown);
        if (!entry.CountsOn(known.Time.GetUtcNow()))
            return Refused(FormattableString.Invariant($"the token of {entry.Name} ended on {entry.Until:yyyy-MM-dd}"));
        return Admitted(entry.Rights.As(Tokens, entry.Name, $"token {entry.Name}"), () => known.Tokens.Stands(entry));
    }

    // The connection is closed when the certificate is refused; who has one has been judged.
    private AuthenticateResult OfCertificate(X509Certificate2 shown)
    {
        if (known.Identity is not { } identity) return AuthenticateResult.NoResult();
        var names = SanNames.Of(shown, identity.Domain);
        var name = new[] { names.Operators, names.Viewers, names.Sites }.SelectMany(static some => some).FirstOrDefault()
            ?? BadInputException.Shown(shown.Subject);
        var (kept, sent) = (shown.RawDataMemory, Context.Features.Get<SentChain>() ?? SentChain.Nothing);
        return Admitted(Rights.Of(names).As(Certificate, name, $"serial {shown.SerialNumber}"), () =>
        {
            using var later = X509CertificateLoader.LoadCertificate(kept.Span);
            return identity.Refusal(later, sent.Certificates, CertificateUse.Client) is null;
        });
    }

    private AuthenticateResult Admitted(ClaimsPrincipal principal, Func<bool>? stands = null)
    {
        if (stands is not null) Context.Features.Set(new Standing(stands));
        return AuthenticateResult.Success(new AuthenticationTicket(principal, TokenOptions.Scheme));
    }

    private AuthenticateResult Refused(string why)
    {
        Context.Features.Set(new Refusal(why));
        return AuthenticateResult.Fail(why);
    }

    private static string Reason(Exception failure) => failure switch
    {
        SecurityTokenExpiredException or SecurityTokenInvalidLifetimeException
            or SecurityTokenNotYetValidException => "it is not valid now",
        SecurityTokenInvalidAudienceException => "it is not made for this audience",
        SecurityTokenInvalidIssuerException => "it is of another issuer",
        SecurityTokenSignatureKeyNotFoundException
            or SecurityTokenInvalidSignatureException
            or SecurityTokenInvalidSigningKeyException
            or SecurityTokenInvalidAlgorithmException => "its signature is none of this issuer's",
        SecurityTokenNoExpirationException => "it has no end",
        _ => "it cannot be read",
    };

    private static bool IsSame(string shown, string token) => token.Length > 0
        && CryptographicOperations.FixedTimeEquals(Encoding.UTF8.GetBytes(shown), Encoding.UTF8.GetBytes(token));

    private sealed record Refusal(string Why);
}

/// <summary>Who is known beside the operator and the viewer of the token's file.</summary>
/// <param name="Tokens">Several people's tokens; null for none.</param>
/// <param name="Oidc">An issuer of signed tokens; null for none.</param>
/// <param name="Identity">The judge of certificates; null without TLS.</param>
/// <param name="Time">The time.</param>
internal sealed record KnownCallers(TokenTable? Tokens, Oidc? Oidc, TlsIdentity? Identity, TimeProvider Time);
