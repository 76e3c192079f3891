using FedRLora.ControlPlane.Access;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.Options;

namespace FedRLora.ControlPlane.Http;

/// <summary>How a browser comes in: by the printed address.</summary>
internal static class PageRoutes
{
    public static void Add(IEndpointRouteBuilder routes) => routes.Map(Routes.Enter, Enter).ExcludeFromDescription();

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
