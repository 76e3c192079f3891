using System.Buffers.Binary;
using System.IO.Compression;
using System.Net;

namespace FedRLora.Silo.Otlp;

/// <summary>A request of OTLP that waits to be sent.</summary>
/// <param name="Address">Where to.</param>
/// <param name="IsGrpc">Whether it is gRPC over HTTP/2, with a frame around the message.</param>
/// <param name="Headers">Its headers, content headers too.</param>
/// <param name="Body">Its bytes.</param>
internal sealed record OtlpRequest(
    Uri Address, bool IsGrpc, IReadOnlyList<KeyValuePair<string, string>> Headers, byte[] Body)
{
    private const int FrameBytes = 5;

    /// <summary>Spans, log records or metrics in it.</summary>
    public int Count
    {
        get
        {
            try
            {
                var isPacked = IsGrpc ? Body.Length > 0 && Body[0] == 1
                    : Headers.Any(static header => header.Key.Equals("Content-Encoding", StringComparison.OrdinalIgnoreCase));
                var message = IsGrpc ? Body.AsSpan(Math.Min(FrameBytes, Body.Length)).ToArray() : Body;
                return OtlpCount.In(isPacked ? Unpacked(message) : message);
            }
            catch (InvalidDataException)
            {
                return 0;
            }
        }
    }

    /// <summary>A request with a message, as the protocol has it.</summary>
    public static OtlpRequest Of(Uri address, bool isGrpc, bool isPacked, IEnumerable<KeyValuePair<string, string>> headers, byte[] message)
    {
        var content = isPacked ? Packed(message) : message;
        List<KeyValuePair<string, string>> all = [.. headers, new("Content-Type", isGrpc ? "application/grpc" : "application/x-protobuf")];
        if (!isGrpc)
        {
            if (isPacked) all.Add(new("Content-Encoding", "gzip"));
            return new(address, isGrpc, all, content);
        }

        all.Add(new("TE", "trailers"));
        if (isPacked) all.Add(new("grpc-encoding", "gzip"));
        var frame = new byte[FrameBytes + content.Length];
        frame[0] = isPacked ? (byte)1 : (byte)0;
        BinaryPrimitives.WriteUInt32BigEndian(frame.AsSpan(1), (uint)content.Length);
        content.CopyTo(frame, FrameBytes);
        return new(address, isGrpc, all, frame);
    }

    /// <summary>As HTTP sends it.</summary>
    public HttpRequestMessage Message()
    {
        var message = new HttpRequestMessage(HttpMethod.Post, Address) { Content = new ByteArrayContent(Body) };
        if (IsGrpc) (message.Version, message.VersionPolicy) = (HttpVersion.Version20, HttpVersionPolicy.RequestVersionExact);
        foreach (var (name, value) in Headers)
        {
            if (!message.Headers.TryAddWithoutValidation(name, value)) message.Content.Headers.TryAddWithoutValidation(name, value);
        }

        return message;
    }

    private static byte[] Packed(byte[] message)
    {
        using var packed = new MemoryStream();
        using (var gzip = new GZipStream(packed, CompressionLevel.Fastest)) gzip.Write(message);
        return packed.ToArray();
    }

    private static byte[] Unpacked(byte[] message)
    {
        using var gzip = new GZipStream(new MemoryStream(message), CompressionMode.Decompress);
        using var plain = new MemoryStream();
        gzip.CopyTo(plain);
        return plain.ToArray();
    }
}
