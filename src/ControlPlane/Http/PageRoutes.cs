using System.Security.Claims;
using FedRLora.ControlPlane.Access;
using FedRLora.ControlPlane.Views;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.Options;

namespace FedRLora.ControlPlane.Http;

/// <summary>How a browser comes in: by the printed address.</summary>
internal static class PageRoutes
{
    public static void Add(IEndpointRouteBuilder routes)
    {
        routes.Map(Routes.Enter, Enter).ExcludeFromDescription();
        // as the caller reaches this server, also through a tunnel
        routes.Map(Routes.Admit, static (NothingSaid _, HttpContext context, Entrance entrance, IOptionsMonitor<TokenOptions> tokens) =>
            Results.Ok(new EntranceMade(Json.Schema, $"{context.Request.Scheme}://{context.Request.Host}{Routes.Enter.Pattern}?code="
                + entrance.Code(tokens.Get(TokenOptions.Scheme).IsTls ? GuestOf(context)
                    : Guests.OfThisMachine)))).Produces<EntranceMade>();
    }

    // On other machines a browser has the name, the rights and the end of whoever lets it in.
    private static Guest GuestOf(HttpContext context)
    {
        if (context.User.Identity?.AuthenticationType == Guests.Browser) throw new NotAllowedException("a browser lets no other in");
        var stands = context.Features.GetRequiredFeature<Standing>().Is;
        var identity = new ClaimsIdentity(context.User.Claims, Guests.Browser);
        return new(new ClaimsPrincipal(identity), stands);
    }

    private static IResult Enter(HttpContext context, Entrance entrance, IOptionsMonitor<TokenOptions> tokens, string? code = null)
    {
        if (entrance.Take(code) is not { } guest)
            return Results.Text("This address has let a browser in already, or is too old; the program prints a new one when it starts.\n",
                "text/plain", statusCode: StatusCodes.Status403Forbidden);
        var token = tokens.Get(TokenOptions.Scheme);
        context.Response.Cookies.Append(token.Cookie, entrance.Session(guest), new CookieOptions
        {
            HttpOnly = true, SameSite = SameSiteMode.Strict, Path = "/", IsEssential = true, Secure = token.IsTls,
        });
        return Results.Redirect(Routes.Home.Pattern);
    }
}

/// <summary>Browsers that are let in by who started the process.</summary>
internal static class Guests
{
    /// <summary>How a browser is signed in.</summary>
    public const string Browser = "browser";

    /// <summary>The operator of this machine, who could read the files of its sites as well.</summary>
    public static Guest OfThisMachine { get; } = new(
        Principals.Of(Browser, "browser of the operator", Principals.Operator, Principals.EverySite), Stands: null);

    /// <summary>Who started a silo that other machines reach.</summary>
    public static Guest OfThisSilo { get; } = new(
        Principals.Of(Browser, "browser of who started the silo", Principals.Operator), static () => true);
}

/// <summary>An address that lets one browser in, once and within half an hour.</summary>
/// <param name="Schema">The version of the schema.</param>
/// <param name="Address">The address.</param>
public sealed record EntranceMade(int Schema, string Address);
