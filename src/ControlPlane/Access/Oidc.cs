using System.Security.Claims;
using FedRLora.Abstractions;
using Microsoft.AspNetCore.Authentication;
using Microsoft.AspNetCore.Authentication.JwtBearer;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Microsoft.IdentityModel.Protocols;
using Microsoft.IdentityModel.Protocols.OpenIdConnect;
using Microsoft.IdentityModel.Tokens;

namespace FedRLora.ControlPlane.Access;

/// <summary>
/// Signed tokens of one issuer (JWT, RFC 7519). Its keys come from its discovery document and are read again when one is not known. An
/// issuer that cannot be asked makes its tokens unanswered, not refused.
/// </summary>
internal sealed partial class Oidc : IDisposable
{
    /// <summary>The scheme's name.</summary>
    public const string Scheme = "oidc";

    private const long MostBytes = 1 << 20;
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(5), AskAgainAfter = TimeSpan.FromSeconds(2),
        NewKeysAfter = TimeSpan.FromSeconds(30), KeysFor = TimeSpan.FromHours(1), Skew = TimeSpan.FromMinutes(1);

    private readonly OidcOptions _options;
    private readonly TimeProvider _time;
    private readonly ILogger _log;
    private readonly HttpClient _http;
    private readonly ConfigurationManager<OpenIdConnectConfiguration> _keys;
    private (long At, string Problem)? _away;

    public Oidc(OidcOptions options, TimeProvider time, ILogger log)
    {
        (_options, _time, _log) = (options, time, log);
        _http = new HttpClient(new SocketsHttpHandler { AllowAutoRedirect = false, UseCookies = false, ConnectTimeout = Patience })
        {
            Timeout = Patience, MaxResponseContentBufferSize = MostBytes,
        };
        _keys = new(options.Discovery, new OpenIdConnectConfigurationRetriever(),
            new HttpDocumentRetriever(_http) { RequireHttps = options.Authority.Scheme == "https" })
        {
            RefreshInterval = NewKeysAfter, AutomaticRefreshInterval = KeysFor,
            UseLastKnownGoodConfiguration = false, // a key that the issuer took back signs nothing any more
        };
    }

    /// <summary>Whether a bearer's token has the form of a signed one; our own have no dots.</summary>
    public static bool IsSigned(string token) => token.Count(static c => c == '.') == 2;

    /// <summary>Why the issuer's tokens cannot be judged; null where they were.</summary>
    public static string? AwayIn(HttpContext context) => context.Features.Get<Away>()?.Problem;

    /// <inheritdoc/>
    public void Dispose() => _http.Dispose();

    /// <summary>Adds the scheme.</summary>
    public void AddTo(IServiceCollection services) => services.AddSingleton(this).AddTransient<JwtBearerHandler>()
        .Configure<AuthenticationOptions>(static schemes => schemes.AddScheme<JwtBearerHandler>(Scheme, displayName: null))
        .Configure<JwtBearerOptions>(Scheme, Configure);

    private void Configure(JwtBearerOptions jwt)
    {
        jwt.MapInboundClaims = false; // or the claims have other names than the issuer gave them
        jwt.ConfigurationManager = _keys;
        jwt.TimeProvider = _time;
        jwt.IncludeErrorDetails = false;
        jwt.TokenValidationParameters = new TokenValidationParameters
        {
            ValidAudience = _options.Audience, ValidateAudience = true, ValidateIssuer = true, ValidateLifetime = true,
            RequireExpirationTime = true, RequireSignedTokens = true, ValidateIssuerSigningKey = true, ClockSkew = Skew,
            // a key that can be read by everybody signs nothing with HMAC, and "none" is no signature
            ValidAlgorithms =
            [
                SecurityAlgorithms.RsaSha256, SecurityAlgorithms.RsaSha384, SecurityAlgorithms.RsaSha512,
                SecurityAlgorithms.RsaSsaPssSha256, SecurityAlgorithms.RsaSsaPssSha384, SecurityAlgorithms.RsaSsaPssSha512,
                SecurityAlgorithms.EcdsaSha256, SecurityAlgorithms.EcdsaSha384, SecurityAlgorithms.EcdsaSha512,
            ],
            LifetimeValidator = IsNow,
        };
        jwt.Events = new JwtBearerEvents { OnMessageReceived = AskAsync, OnTokenValidated = AdmitAsync };
    }

    // By the control plane's clock, as everything that it judges.
    private bool IsNow(DateTime? from, DateTime? until, SecurityToken token, TokenValidationParameters parameters)
    {
        var now = _time.GetUtcNow().UtcDateTime;
        return until is { } end && now < end + Skew && (from is not { } start || now >= start - Skew);
    }

    private async Task AskAsync(MessageReceivedContext context)
    {
        if (await ProblemAsync(context.HttpContext.RequestAborted) is not { } problem) return;
        context.HttpContext.Features.Set(new Away(problem));
        context.Fail(problem);
    }

    private async Task<string?> ProblemAsync(CancellationToken cancellationToken)
    {
        if (_away is var (at, known) && _time.GetElapsedTime(at) < AskAgainAfter) return known;
        string problem;
        try
        {
            var found = await _keys.GetConfigurationAsync(cancellationToken);
            if (found.Issuer?.TrimEnd('/') == _options.Authority.AbsoluteUri.TrimEnd('/'))
            {
                _away = null;
                return null;
            }

            problem = $"its discovery document is of issuer {BadInputException.Shown(found.Issuer ?? "nobody")}";
        }
        catch (Exception e) when (e is InvalidOperationException or IOException or HttpRequestException or ArgumentException
            || (e is OperationCanceledException && !cancellationToken.IsCancellationRequested))
        {
            problem = "it does not give its keys";
            LogAway(_log, _options.Discovery, (e.InnerException ?? e).Message.ReplaceLineEndings(" "));
        }

        problem = $"tokens of {_options.Authority.AbsoluteUri} cannot be judged now: {problem}; try again";
        _away = (_time.GetTimestamp(), problem);
        return problem;
    }

    private Task AdmitAsync(TokenValidatedContext context)
    {
        var claims = context.Principal!.Claims.ToList();
        var name = claims.FirstOrDefault(static claim => claim.Type == "sub")?.Value
            ?? claims.FirstOrDefault(static claim => claim.Type is "azp" or "client_id")?.Value;
        if (string.IsNullOrWhiteSpace(name))
        {
            context.Fail("it has no subject");
            return Task.CompletedTask;
        }

        var rights = Rights.OfClaims(claims.Where(claim => claim.Type == _options.RoleClaim).Select(static claim => claim.Value));
        var id = claims.FirstOrDefault(static claim => claim.Type == "jti")?.Value;
        context.Principal = rights.As(Scheme, BadInputException.Shown(name),
            BadInputException.Shown($"issued by {_options.Authority.AbsoluteUri}{(id is null ? "" : $", {id}")}"));
        var until = context.SecurityToken.ValidTo;
        context.HttpContext.Features.Set(new Standing(() => _time.GetUtcNow().UtcDateTime < until));
        return Task.CompletedTask;
    }

    private sealed record Away(string Problem);

    [LoggerMessage(713, LogLevel.Warning, "{Address} does not answer with keys: {Problem}")]
    private static partial void LogAway(ILogger log, string address, string problem);
}

/// <summary>Whether what a caller showed still counts later, for what stands on it then.</summary>
/// <param name="Is">Asks.</param>
internal sealed record Standing(Func<bool> Is);
