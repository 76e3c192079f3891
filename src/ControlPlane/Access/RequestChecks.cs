using Microsoft.AspNetCore.Http;
using Microsoft.Net.Http.Headers;

namespace FedRLora.ControlPlane.Access;

/// <summary>
/// What every request has to show before anything else is asked. Any page in a browser of this machine can reach loopback, and one of a
/// colleague's the silo's address: a host name that leads here from elsewhere, a page of another origin, a form that posts are refused
/// whatever else they carry.
/// </summary>
/// <param name="hosts">The names that this server answers to.</param>
internal sealed class RequestChecks(HostNames hosts)
{
    /// <summary>Bound on a body: no plan is as long.</summary>
    public const long MostBodyBytes = 16 << 20;

    private const string Json = "application/json";

    public async Task InvokeAsync(HttpContext context, RequestDelegate next)
    {
        var (code, problem) = ProblemOf(context);
        if (problem is null) await next(context);
        else await Problem.WriteAsync(context, code, problem);
    }

    private (int Code, string? Problem) ProblemOf(HttpContext context)
    {
        var request = context.Request;
        if (!hosts.Has(request.Host, context.Connection)) return (StatusCodes.Status421MisdirectedRequest, $"Host: {hosts.Refusal}");
        if (!IsOwn(request)) return (StatusCodes.Status403Forbidden, "Origin: pages of other origins may not use this server");
        if (!HttpMethods.IsPost(request.Method)) return (0, null);
        if (!MediaTypeHeaderValue.TryParse(request.ContentType, out var type)
            || !type.MediaType.Equals(Json, StringComparison.OrdinalIgnoreCase))
        {
            return (StatusCodes.Status415UnsupportedMediaType, $"Content-Type: send {Json}");
        }

        if (request.ContentLength > MostBodyBytes)
            return (StatusCodes.Status413PayloadTooLarge, $"the body has {request.ContentLength} bytes; the bound is {MostBodyBytes}");
        return request.ContentLength is null or 0 && !request.Headers.TransferEncoding.Contains("chunked", StringComparer.OrdinalIgnoreCase)
            ? (StatusCodes.Status400BadRequest, "the body is empty: send a JSON object, {} where nothing is to be said")
            : (0, null);
    }

    // A browser names the origin of a page with every request that is not a plain visit, and says whether that is another site.
    private static bool IsOwn(HttpRequest request)
    {
        if (request.Headers["Sec-Fetch-Site"].ToString().Contains("-site", StringComparison.OrdinalIgnoreCase)) return false;
        var origins = request.Headers.Origin;
        return origins.Count == 0
            || (origins is [{ } origin] && origin.Equals($"{request.Scheme}://{request.Host}", StringComparison.OrdinalIgnoreCase));
    }
}
