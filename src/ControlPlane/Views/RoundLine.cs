using System.Text;
using System.Text.Json;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;

namespace FedRLora.ControlPlane.Views;

/// <summary>
/// A committed round as it travels to whoever reckons with it:
/// <c>{"schema":1,"sha256":..,"seconds":..,"timing":{..},"manifest":{..}}</c>, one line; without what nobody measured.
/// </summary>
public static class RoundLine
{
    /// <summary>The line, with its end.</summary>
    public static byte[] Of(RoundSummary round)
    {
        using var stream = new MemoryStream();
        using (var writer = new Utf8JsonWriter(stream))
        using (var manifest = JsonDocument.Parse(round.Manifest.ToBytes()))
        {
            writer.WriteStartObject();
            writer.WriteNumber("schema", Json.Schema);
            writer.WriteString("sha256", round.ManifestSha256);
            if (round.Seconds > 0) writer.WriteNumber("seconds", round.Seconds);
            if (round.Timing is { } timing)
            {
                writer.WritePropertyName("timing");
                JsonSerializer.Serialize(writer, timing, Json.Lines);
            }

            writer.WritePropertyName("manifest");
            manifest.RootElement.WriteTo(writer);
            writer.WriteEndObject();
        }

        stream.WriteByte((byte)'\n');
        return stream.ToArray();
    }

    /// <summary>Reads a line.</summary>
    /// <param name="line">The line.</param>
    /// <param name="source">What the refusal calls it.</param>
    /// <exception cref="BadInputException">It is none, or its manifest does not have its digest.</exception>
    public static RoundSummary Parse(string line, string source)
    {
        try
        {
            using var document = JsonDocument.Parse(line);
            var root = document.RootElement;
            var manifest = RoundManifest.Parse(Encoding.UTF8.GetBytes(root.GetProperty("manifest").GetRawText()), source);
            var sha256 = root.GetProperty("sha256").GetString() ?? "";
            if (RoundManifest.Digest(manifest.ToBytes()) != sha256)
                throw new BadInputException($"{source}: the manifest of round {manifest.Round} does not have its digest {sha256}.");
            return new()
            {
                Manifest = manifest, ManifestSha256 = sha256,
                Seconds = root.TryGetProperty("seconds", out var seconds) ? seconds.GetDouble() : 0,
                Timing = root.TryGetProperty("timing", out var timing) ? timing.Deserialize<RoundTiming>(Json.Lines) : null,
            };
        }
        catch (Exception e) when (e is JsonException or KeyNotFoundException or InvalidOperationException or FormatException)
        {
            throw new BadInputException($"{source}: not a committed round: {e.Message}", e);
        }
    }
}
