using System.Globalization;
using System.Security.Claims;
using System.Security.Cryptography;
using System.Text;
using System.Text.Encodings.Web;
using Microsoft.AspNetCore.Authentication;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace FedRLora.ControlPlane.Access;

/// <summary>What a silo accepts as tokens.</summary>
public sealed class TokenOptions : AuthenticationSchemeOptions
{
    /// <summary>The scheme's name.</summary>
    public const string Scheme = "token";

    /// <summary>The operator's.</summary>
    public string Operator { get; set; } = "";

    /// <summary>The viewer's.</summary>
    public string Viewer { get; set; } = "";

    /// <summary>The port, which tells the cookies of servers on one host apart.</summary>
    public int Port { get; set; }

    /// <summary>
    /// Whether a browser that was let in shows the operator's token whenever it steers: where a token's file was named, others share it.
    /// </summary>
    public bool AsksBrowsers { get; set; }

    /// <summary>The name of the cookie of a browser that was let in.</summary>
    public string Cookie => string.Create(CultureInfo.InvariantCulture, $"fedrlora-{Port}");
}

/// <summary>Signs in whoever shows a token as <c>Authorization: Bearer</c>, and browsers that were let in by their cookie.</summary>
internal sealed class TokenHandler(
    IOptionsMonitor<TokenOptions> options, ILoggerFactory logger, UrlEncoder encoder, Entrance entrance)
    : AuthenticationHandler<TokenOptions>(options, logger, encoder)
{
    private const string Bearer = "Bearer ";

    protected override Task<AuthenticateResult> HandleAuthenticateAsync()
    {
        var header = Request.Headers.Authorization.ToString();
        if (header.Length == 0 && Request.Cookies[Options.Cookie] is null) return Task.FromResult(AuthenticateResult.NoResult());
        var principal = header.Length == 0 ? BrowserOf(Request.Cookies[Options.Cookie]!)
            : header.StartsWith(Bearer, StringComparison.OrdinalIgnoreCase) ? PrincipalOf(header[Bearer.Length..].Trim())
            : null;
        return Task.FromResult(principal is not null
            ? AuthenticateResult.Success(new AuthenticationTicket(principal, TokenOptions.Scheme))
            : AuthenticateResult.Fail("The token is not this server's."));
    }

    protected override Task HandleChallengeAsync(AuthenticationProperties properties)
    {
        Response.Headers.WWWAuthenticate = "Bearer";
        return Problem.WriteAsync(Context, StatusCodes.Status401Unauthorized, Request.Headers.Authorization.Count == 0
            ? "no token: send that of the silo's token file as Authorization: Bearer TOKEN"
            : "the token is not this server's");
    }

    protected override Task HandleForbiddenAsync(AuthenticationProperties properties) =>
        Problem.WriteAsync(Context, StatusCodes.Status403Forbidden, "this token does not allow that");

    // A browser that asks reads as the operator; its cookie steers alone only where nobody named a token's file.
    private ClaimsPrincipal? BrowserOf(string session) => entrance.IsSession(session)
        ? Principals.Of(TokenOptions.Scheme, "browser of the operator",
            Options.AsksBrowsers && HttpMethods.IsPost(Request.Method) ? Principals.Viewer : Principals.Operator, Principals.EverySite)
        : null;

    private ClaimsPrincipal? PrincipalOf(string shown)
    {
        if (IsSame(shown, Options.Operator))
            return Principals.Of(TokenOptions.Scheme, "token of the operator", Principals.Operator, Principals.EverySite);
        return IsSame(shown, Options.Viewer) ? Principals.Of(TokenOptions.Scheme, "token of the viewer", Principals.Viewer) : null;
    }

    private static bool IsSame(string shown, string token) => token.Length > 0
        && CryptographicOperations.FixedTimeEquals(Encoding.UTF8.GetBytes(shown), Encoding.UTF8.GetBytes(token));
}
