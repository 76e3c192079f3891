using System.Text.Json;
using FedRLora.ControlPlane.Views;
using Microsoft.AspNetCore.Http;

namespace FedRLora.ControlPlane.Access;

/// <summary>How every refusal is answered: one line of text in a JSON object.</summary>
/// <param name="Schema">The version of the schema.</param>
/// <param name="Error">What is wrong, where, and what to do.</param>
public sealed record Problem(int Schema, string Error)
{
    /// <summary>Answers with a problem, unless an answer has begun.</summary>
    public static async Task WriteAsync(HttpContext context, int code, string error)
    {
        if (context.Response.HasStarted) return;
        context.Response.StatusCode = code;
        context.Response.ContentType = "application/json; charset=utf-8";
        await context.Response.WriteAsync(
            JsonSerializer.Serialize(new Problem(Json.Schema, error), Json.Lines), context.RequestAborted);
    }
}
