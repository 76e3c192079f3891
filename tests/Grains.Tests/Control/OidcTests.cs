using System.Net;
using System.Security.Claims;
using System.Security.Cryptography;
using System.Text;
using FedRLora.ControlPlane.Access;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.IdentityModel.JsonWebTokens;
using Microsoft.IdentityModel.Tokens;

namespace FedRLora.Grains.Tests.Control;

/// <summary>Signed tokens of an issuer that the test is: its discovery document, its keys, and what it signs.</summary>
public class OidcTests
{
    private const string Audience = "api://fedrlora";

    [Fact]
    public async Task A_signed_token_is_worth_what_its_roles_say_while_issuer_audience_time_and_signature_are_right()
    {
        await using var issuer = await Issuer.StartAsync();
        await using var control = await StartAsync(issuer);
        await control.RunAsync();
        var now = TestAuthority.Now.UtcDateTime;
        var table = new List<string>();
        foreach (var (what, token, view, operate, read) in new (string, string, int, int, int)[]
        {
            ("viewer", issuer.Sign(["fedrlora.viewer"]), 200, 403, 403),
            ("operator", issuer.Sign(["fedrlora.operator", "something else"]), 200, 404, 403),
            ("own site", issuer.Sign(["fedrlora.site.north"]), 200, 403, 404),
            ("other site", issuer.Sign(["fedrlora.site.south"]), 200, 403, 403),
            ("no roles", issuer.Sign([]), 403, 403, 403),
            ("roles in another claim", issuer.Sign(["fedrlora.operator"], claim: "role"), 403, 403, 403),
            ("another audience", issuer.Sign(["fedrlora.operator"], audience: "api://other"), 401, 401, 401),
            ("another issuer", issuer.Sign(["fedrlora.operator"], from: "https://login.example.org"), 401, 401, 401),
            ("expired", issuer.Sign(["fedrlora.operator"], begins: now.AddHours(-2), ends: now.AddMinutes(-5)), 401, 401, 401),
            ("not yet", issuer.Sign(["fedrlora.operator"], begins: now.AddMinutes(5), ends: now.AddHours(1)), 401, 401, 401),
            ("another key", issuer.Sign(["fedrlora.operator"], with: Issuer.NewKey("key-1")), 401, 401, 401),
            ("the public key as a secret", issuer.SignWithPublicKey(["fedrlora.operator"]), 401, 401, 401),
            ("unsigned", issuer.Unsigned(["fedrlora.operator"]), 401, 401, 401),
            ("changed", Changed(issuer.Sign(["fedrlora.viewer"])), 401, 401, 401),
            ("no subject", issuer.Sign(["fedrlora.operator"], subject: null), 401, 401, 401),
            ("no token at all", "a.b.c", 401, 401, 401),
        })
        {
            using var caller = control.With(token);
            using var seen = await caller.GetAsync("/v1/runs");
            using var done = await caller.PostJsonAsync("/v1/runs/none/cancel", "{}");
            using var got = await caller.GetAsync($"/v1/runs/{TlsControl.Run}/clients/{TlsControl.North}/row-scores");
            var codes = ((int)seen.StatusCode, (int)done.StatusCode, (int)got.StatusCode);
            if (codes != (view, operate,
                read)) table.Add($"{what}: {codes} instead of {(view, operate, read)}: {await seen.Content.ReadAsStringAsync()}");
        }

        Assert.Empty(table);
    }

    [Fact]
    public async Task New_keys_are_asked_for_when_a_token_names_one_that_is_not_known()
    {
        await using var issuer = await Issuer.StartAsync();
        await using var control = await StartAsync(issuer);
        using var before = control.With(issuer.Sign(["fedrlora.viewer"]));
        await before.GetAsync("/v1/runs").ReadAsync();

        issuer.Key = Issuer.NewKey("key-2");
        using var after = control.With(issuer.Sign(["fedrlora.viewer"]));
        await Eventually.Async(async () =>
        {
            using var answer = await after.GetAsync("/v1/runs");
            return answer.StatusCode == HttpStatusCode.OK;
        });
        await before.GetAsync("/v1/runs").RefusalAsync(HttpStatusCode.Unauthorized);
    }

    [Fact]
    public async Task While_the_issuer_is_away_its_tokens_are_unanswered_and_other_callers_go_on()
    {
        await using var issuer = await Issuer.StartAsync();
        issuer.IsAway = true;
        await using var control = await StartAsync(issuer);
        using var signed = control.With(issuer.Sign(["fedrlora.viewer"]));
        using var vera = control.As("vera");

        Assert.Equal($"tokens of {issuer.Address} cannot be judged now: it does not give its keys; try again",
            await signed.GetAsync("/v1/runs").RefusalAsync(HttpStatusCode.ServiceUnavailable));
        await vera.GetAsync("/v1/runs").ReadAsync();
        issuer.IsAway = false;
        await Eventually.Async(async () =>
        {
            using var answer = await signed.GetAsync("/v1/runs");
            return answer.StatusCode == HttpStatusCode.OK;
        });
        issuer.IsAway = true; // its keys are known
        await signed.GetAsync("/v1/runs").ReadAsync();
    }

    [Fact]
    public async Task A_discovery_document_of_another_issuer_gives_no_keys()
    {
        await using var issuer = await Issuer.StartAsync();
        issuer.Name = "https://login.example.org";
        await using var control = await StartAsync(issuer);
        using var signed = control.With(issuer.Sign(["fedrlora.viewer"]));
        Assert.EndsWith("cannot be judged now: its discovery document is of issuer https://login.example.org; try again",
            await signed.GetAsync("/v1/runs").RefusalAsync(HttpStatusCode.ServiceUnavailable), StringComparison.Ordinal);
    }

    private static Task<TlsControl> StartAsync(Issuer issuer) => TlsControl.StartAsync(options => options with
    {
        Oidc = new(OidcOptions.ParseAuthority(issuer.Address), Audience, OidcOptions.DefaultRoleClaim),
    });

    // Claims of somebody's own beside a signature of others.
    private static string Changed(string token)
    {
        var parts = token.Split('.');
        var claims = Base64UrlEncoder.Decode(parts[1]).Replace("fedrlora.viewer", "fedrlora.operator", StringComparison.Ordinal);
        return $"{parts[0]}.{Base64UrlEncoder.Encode(claims)}.{parts[2]}";
    }

    private sealed class Issuer : IAsyncDisposable
    {
        private readonly WebApplication _app;

        private Issuer()
        {
            var builder = WebApplication.CreateEmptyBuilder(new());
            builder.Services.AddRouting();
            builder.WebHost.UseKestrelCore().UseUrls("http://127.0.0.1:0");
            _app = builder.Build();
            _app.UseRouting();
            _app.MapGet("/.well-known/openid-configuration", () => IsAway ? Results.StatusCode(503)
                : Results.Text($$"""{"issuer": "{{Name}}", "jwks_uri": "{{Address}}keys"}""", "application/json"));
            _app.MapGet("/keys", () => IsAway ? Results.StatusCode(503) : Results.Text(Keys(), "application/json"));
        }

        public bool IsAway { get; set; }

        public ECDsaSecurityKey Key { get; set; } = NewKey("key-1");

        public string Address { get; private set; } = "";

        public string Name { get; set; } = "";

        public static async Task<Issuer> StartAsync()
        {
            var issuer = new Issuer();
            await issuer._app.StartAsync();
            issuer.Address = issuer._app.Urls.Single() + "/";
            issuer.Name = issuer.Address;
            return issuer;
        }

        public static ECDsaSecurityKey NewKey(string id) => new(ECDsa.Create(ECCurve.NamedCurves.nistP256)) { KeyId = id };

        public string Sign(string[] roles, string claim = "roles", string audience = Audience, string? from = null, DateTime? begins = null,
            DateTime? ends = null, ECDsaSecurityKey? with = null, string? subject = "ada") =>
            Token(roles, claim, audience, from, begins, ends, subject, new(with ?? Key, SecurityAlgorithms.EcdsaSha256));

        public string SignWithPublicKey(string[] roles) => Token(roles, "roles", Audience, null, null, null, "ada", new(
            new SymmetricSecurityKey(Encoding.UTF8.GetBytes(Key.ECDsa.ExportSubjectPublicKeyInfoPem())) { KeyId = Key.KeyId },
            SecurityAlgorithms.HmacSha256));

        public string Unsigned(string[] roles) => Token(roles, "roles", Audience, null, null, null, "ada", signing: null);

        public ValueTask DisposeAsync() => _app.DisposeAsync();

        private string Token(string[] roles, string claim, string audience, string? from, DateTime? begins, DateTime? ends, string? subject,
            SigningCredentials? signing)
        {
            var now = TestAuthority.Now.UtcDateTime;
            return new JsonWebTokenHandler { SetDefaultTimesOnTokenCreation = false }.CreateToken(new SecurityTokenDescriptor
            {
                Issuer = from ?? Name, Audience = audience, NotBefore = begins ?? now.AddMinutes(-1), Expires = ends ?? now.AddHours(1),
                Subject = new ClaimsIdentity([.. subject is null ? [] : new[] { new Claim("sub", subject) }, .. roles.Select(role =>
                    new Claim(claim, role))]),
                SigningCredentials = signing,
            });
        }

        private string Keys()
        {
            var key = Key.ECDsa.ExportParameters(includePrivateParameters: false);
            return $$"""
                {"keys": [{"kty": "EC", "crv": "P-256", "use": "sig", "kid": "{{Key.KeyId}}", "x": "{{Base64UrlEncoder.Encode(key.Q.X!)}}",
                "y": "{{Base64UrlEncoder.Encode(key.Q.Y!)}}"}]}
                """;
        }
    }
}
