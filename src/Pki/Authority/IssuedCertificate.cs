using System.Text.Json;
using System.Text.Json.Serialization;
using FedRLora.Abstractions;

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

    internal static IReadOnlyList<IssuedCertificate> Parse(string file, string text)
    {
        List<IssuedCertificate> all = [];
        var number = 0;
        foreach (var line in text.ReplaceLineEndings("\n").Split('\n'))
        {
            number++;
            if (line.Length == 0) continue;
            try
            {
                all.Add(JsonSerializer.Deserialize(line, IndexJson.Default.IssuedCertificate) ?? throw new JsonException("null"));
            }
            catch (JsonException e)
            {
                throw new BadInputException($"{file}:{number}: is no record of a certificate: it was changed or cut off", e);
            }
        }

        return all;
    }
}

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase)]
[JsonSerializable(typeof(IssuedCertificate))]
internal sealed partial class IndexJson : JsonSerializerContext;
