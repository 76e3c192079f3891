using System.Security.Cryptography;
using System.Text.Json;
using FedRLora.Abstractions;
using FedRLora.ControlPlane.Views;

namespace FedRLora.ControlPlane.Audit;

/// <summary>Checks a chain line by line, as they come: each names its silo, its number and the digest of the line before.</summary>
/// <param name="silo">Whose chain it is.</param>
public sealed class AuditChain(string silo)
{
    private static readonly JsonSerializerOptions Reading = new(Json.Lines) { RespectRequiredConstructorParameters = true };
    private string _last = AuditLine.NoDigest;
    private int _lines;

    /// <summary>Where it ends, as far as it was read.</summary>
    public AuditChainEnd End => new(silo, _lines, _last);

    /// <summary>What is wrong, naming the line; null where nothing is.</summary>
    public string? Problem { get; private set; }

    /// <summary>The digest of a line's stored bytes.</summary>
    public static string DigestOf(ReadOnlySpan<byte> line) => Convert.ToHexStringLower(SHA256.HashData(line));

    /// <summary>Takes the next line.</summary>
    /// <param name="line">Its stored bytes.</param>
    /// <returns>What it says; null where it is no line.</returns>
    public AuditLine? Take(ReadOnlySpan<byte> line)
    {
        var expected = _lines + 1;
        AuditLine? read = null;
        try
        {
            read = JsonSerializer.Deserialize<AuditLine>(line, Reading);
        }
        catch (JsonException)
        {
            // said below
        }

        if (read is null) Say($"line {expected} is not one of the record");
        else if (read.Silo != silo) Say($"line {expected} is of silo {BadInputException.Shown(read.Silo)}");
        else if (read.Number > expected) Say(read.Number == expected + 1 ? $"line {expected} is missing"
            : $"lines {expected} to {read.Number - 1} are missing");
        else if (read.Number < expected) Say($"line {read.Number} stands where line {expected} should");
        else if (read.Previous != _last) Say(expected == 1 ? "line 1 names a line before it: the beginning is missing"
            : $"line {expected - 1} was changed, or line {expected} does not follow it: the digests differ");
        (_lines, _last) = (read?.Number ?? expected, DigestOf(line));
        return read;
    }

    private void Say(string problem) => Problem ??= problem;
}
