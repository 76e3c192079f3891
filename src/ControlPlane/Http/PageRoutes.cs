using FedRLora.ControlPlane.Access;
using FedRLora.ControlPlane.Views;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
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
        routes.Map(Routes.Admit, static (NothingSaid _, HttpContext context, Entrance entrance) => Results.Ok(new EntranceMade(
            Json.Schema, $"{context.Request.Scheme}://{context.Request.Host}{Routes.Enter.Pattern}?code={entrance.Code()}")))
            .Produces<EntranceMade>();
    }

    private static IResult Enter(HttpContext context, Entrance entrance, IOptionsMonitor<TokenOptions> tokens, string? code = null)
    {
        if (!entrance.Take(code))
            return Results.Text("This address has let a browser in already, or is too old; the program prints a new one when it starts.\n",
                "text/plain", statusCode: StatusCodes.Status403Forbidden);
        var token = tokens.Get(TokenOptions.Scheme);
        context.Response.Cookies.Append(token.Cookie, entrance.Session(), new CookieOptions
        {
            HttpOnly = true, SameSite = SameSiteMode.Strict, Path = "/", IsEssential = true,
        });
        return Results.Redirect(Routes.Home.Pattern);
    }
}

/// <summary>An address that lets one browser in, once and within half an hour.</summary>
/// <param name="Schema">The version of the schema.</param>
/// <param name="Address">The address.</param>
public sealed record EntranceMade(int Schema, string Address);
