using System.Globalization;
using System.Net.Http.Headers;
using System.Net.Http.Json;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace FedRLora.Silo.Trackers;

/// <summary>Requests to MLflow's REST API 2.0. A redirect is not followed: credentials are for the server that was named.</summary>
internal sealed class MlflowApi(string address, AuthenticationHeaderValue? credentials, HttpMessageInvoker http, TimeSpan timeout)
{
    private const int MostOfAMessage = 200;

    public const string NotThere = "RESOURCE_DOES_NOT_EXIST", ThereAlready = "RESOURCE_ALREADY_EXISTS";

    /// <summary>Asks.</summary>
    /// <exception cref="TrackerTroubleException">There is no answer, or another than was asked for.</exception>
    public Task<JsonElement> GetAsync(string path, string name, string value, CancellationToken cancellationToken) =>
        SendAsync(new(HttpMethod.Get, $"{address}/api/2.0/mlflow/{path}?{name}={Uri.EscapeDataString(value)}"), cancellationToken);

    /// <summary>Has something done.</summary>
    /// <inheritdoc cref="GetAsync" path="/exception"/>
    public Task<JsonElement> PostAsync(string path, JsonObject body, CancellationToken cancellationToken) => SendAsync(
        new(HttpMethod.Post, $"{address}/api/2.0/mlflow/{path}") { Content = JsonContent.Create(body) }, cancellationToken);

    private async Task<JsonElement> SendAsync(HttpRequestMessage request, CancellationToken cancellationToken)
    {
        using var patience = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        patience.CancelAfter(timeout);
        request.Headers.Authorization = credentials;
        try
        {
            using (request)
            using (var answer = await http.SendAsync(request, patience.Token))
            {
                var body = Read(await answer.Content.ReadAsStringAsync(patience.Token));
                return answer.IsSuccessStatusCode && body is { } read ? read : throw Judged(answer, body);
            }
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            throw new TrackerTroubleException(
                $"it did not answer within {timeout.TotalSeconds.ToString(CultureInfo.InvariantCulture)} s");
        }
        catch (Exception e) when (e is HttpRequestException or IOException)
        {
            throw new TrackerTroubleException(e.Message.ReplaceLineEndings(" "));
        }
    }

    private static JsonElement? Read(string text)
    {
        try
        {
            return JsonDocument.Parse(text).RootElement is { ValueKind: JsonValueKind.Object } read ? read : null;
        }
        catch (JsonException)
        {
            return null; // a page of something that is no MLflow
        }
    }

    private static TrackerTroubleException Judged(HttpResponseMessage answer, JsonElement? body)
    {
        var status = (int)answer.StatusCode;
        if (status is >= 300 and < 400)
        {
            var target = answer.Headers.Location is { IsAbsoluteUri: true } location
                ? location.GetLeftPart(UriPartial.Path) : "another path";
            return new($"it sends requests on to {target}; "
                + "name that server, since credentials go to the named one alone") { NeedsSomebody = true };
        }

        if (answer.IsSuccessStatusCode || (body is null && status is not (429 or 502 or 503 or 504)))
        {
            return new($"it answers with {status.ToString(CultureInfo.InvariantCulture)} and {Kind(answer)}, which is not MLflow's API")
            {
                NeedsSomebody = true,
            };
        }

        var code = Text(body, "error_code");
        var said = string.Join(": ", new[] { $"{status} ({answer.ReasonPhrase})", code, Text(body, "message") }.OfType<string>())
            .ReplaceLineEndings(" ");
        return new(said.Length > MostOfAMessage ? said[..MostOfAMessage] + "..." : said)
        {
            Code = code, IsRefusal = status is 400 or 413 or 422, NeedsSomebody = status is 401 or 403 or 404,
            After = answer.Headers.RetryAfter switch
            {
                { Delta: { } delta } => delta,
                { Date: { } date } when answer.Headers.Date is { } now => date - now,
                _ => null,
            },
        };
    }

    private static string Kind(HttpResponseMessage answer) => answer.Content.Headers.ContentType?.MediaType ?? "no content";

    private static string? Text(JsonElement? body, string name) =>
        body is { } read && read.TryGetProperty(name, out var value) && value.ValueKind == JsonValueKind.String ? value.GetString() : null;
}
