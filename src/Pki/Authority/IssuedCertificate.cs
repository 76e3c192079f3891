using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace FedRLora.Pki.Authority;

/// <summary>A certificate that an authority issued, as a line of its index.</summary>
public sealed record IssuedCertificate
{
    /// <summary>Its serial number, in hexadecimal digits.</summary>
    public required string Serial { get; init; }

    /// <summary>The DNS names that it holds.</summary>
    public required IReadOnlyList<string> Names { get; init; }

    /// <summary>The IP addresses that it holds.</summary>
    public required IReadOnlyList<string> Addresses { get; init; }

    /// <summary>When it begins.</summary>
    public required DateTimeOffset From { get; init; }

    /// <summary>When it ends.</summary>
    public required DateTimeOffset Until { get; init; }

    /// <summary>Fingerprint of the request.</summary>
    public required string Request { get; init; }

    /// <summary>Name of the authority.</summary>
    public required string Authority { get; init; }

    internal string ToLine() => JsonSerializer.Serialize(this, IndexJson.Default.IssuedCertificate);

    /// <summary>The record that a line holds; null where it holds none.</summary>
    internal static IssuedCertificate? Parse(string line) => Parse(Encoding.UTF8.GetBytes(line));

    /// <summary>The same, of a line's bytes.</summary>
    internal static IssuedCertificate? Parse(ReadOnlySpan<byte> line)
    {
        try
        {
            return JsonSerializer.Deserialize(line, IndexJson.Default.IssuedCertificate);
        }
        catch (JsonException)
        {
            return null;
        }
    }
}

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase)]
[JsonSerializable(typeof(IssuedCertificate))]
internal sealed partial class IndexJson : JsonSerializerContext;
