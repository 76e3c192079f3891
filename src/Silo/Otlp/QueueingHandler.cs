using System.Net;

namespace FedRLora.Silo.Otlp;

/// <summary>
/// Takes requests from OpenTelemetry's exporters and answers at once that all is well: when and whether they arrive is the queue's to see
/// and to say.
/// </summary>
internal sealed class QueueingHandler(OtlpQueue queue) : HttpMessageHandler
{
    protected override HttpResponseMessage Send(HttpRequestMessage request, CancellationToken cancellationToken)
    {
        using var body = new MemoryStream();
        request.Content?.CopyTo(body, context: null, cancellationToken);
        return Take(request, body.ToArray());
    }

    protected override async Task<HttpResponseMessage> SendAsync(HttpRequestMessage request, CancellationToken cancellationToken) =>
        Take(request, request.Content is null ? [] : await request.Content.ReadAsByteArrayAsync(cancellationToken));

    private HttpResponseMessage Take(HttpRequestMessage request, byte[] body)
    {
        var headers = request.Headers.Concat(request.Content?.Headers.AsEnumerable() ?? [])
            .Where(static header => !header.Key.Equals("Content-Length", StringComparison.OrdinalIgnoreCase))
            .SelectMany(static header => header.Value.Select(value => KeyValuePair.Create(header.Key, value)));
        var isGrpc = request.Content?.Headers.ContentType?.MediaType == "application/grpc";
        queue.Add(new(request.RequestUri!, isGrpc, [.. headers], body));
        var answer = new HttpResponseMessage(HttpStatusCode.OK)
        {
            RequestMessage = request, Version = request.Version, Content = new ByteArrayContent(isGrpc ? new byte[5] : []),
        };
        if (isGrpc) answer.TrailingHeaders.Add("grpc-status", "0");
        return answer;
    }
}
