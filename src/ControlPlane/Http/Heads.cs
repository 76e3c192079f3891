using Microsoft.AspNetCore.Http;

namespace FedRLora.ControlPlane.Http;

/// <summary>HEAD of whatever GET has: the same status and headers, and no body, which the server leaves out.</summary>
internal static class Heads
{
    private static readonly object Key = new();

    /// <summary>Whether a request asks for headers alone.</summary>
    public static bool IsHead(HttpContext context) => context.Items.ContainsKey(Key);

    /// <summary>Has routes take it as GET.</summary>
    public static Task InvokeAsync(HttpContext context, RequestDelegate next)
    {
        if (HttpMethods.IsHead(context.Request.Method))
        {
            context.Items[Key] = true;
            context.Request.Method = HttpMethods.Get;
        }

        return next(context);
    }
}
