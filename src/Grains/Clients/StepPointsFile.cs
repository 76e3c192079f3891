using System.Globalization;
using System.Runtime.CompilerServices;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Ports;
using FedRLora.Grains.Store;

namespace FedRLora.Grains.Clients;

/// <summary>
/// The points of a client's steps in a round: JSON Lines, one blob a round, so that a round done again replaces its points and a run of
/// any length rewrites nothing. The last line is the digest of those before it, since nothing else names it. Nothing depends on points:
/// where a file is lost, they are lost.
/// </summary>
public static class StepPointsFile
{
    /// <summary>What helps where a file was changed.</summary>
    public const string WayOut = "delete it: points of steps are for people to read, and no run needs them";

    private const byte LineEnd = (byte)'\n';

    /// <summary>What is kept of a client's points.</summary>
    /// <param name="points">In the order of steps.</param>
    /// <param name="attempt">The round's.</param>
    public static byte[] Of(IReadOnlyList<StepPoint> points, int attempt)
    {
        using var bytes = new MemoryStream();
        foreach (var point in points)
        {
            using (var json = new Utf8JsonWriter(bytes)) Write(json, point, attempt);
            bytes.WriteByte(LineEnd);
        }

        bytes.Write(Seal(bytes.GetBuffer().AsSpan(0, (int)bytes.Length)));
        return bytes.ToArray();
    }

    /// <summary>Puts points in the place of what an earlier attempt at the round left; without any, nothing is left there.</summary>
    public static Task WriteAsync(
        IBlobStore store, string key, IReadOnlyList<StepPoint> points, int attempt, CancellationToken cancellationToken) =>
        points.Count == 0 ? store.DeleteAsync(key, cancellationToken)
            : store.WriteBytesAsync(key, Of(points, attempt), WriteCondition.Any, cancellationToken);

    /// <summary>What a client keeps at its site, round by round in their order: the file's name and its lines.</summary>
    /// <exception cref="CorruptBlobException">A file was changed since it was written.</exception>
    public static async IAsyncEnumerable<(string File, byte[] Lines)> ReadAllAsync(
        IBlobStore store, string job, string site, string client, [EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        var prefix = Keys.StepPointsOf(job, site, client);
        var rounds = new SortedSet<int>();
        await foreach (var key in store.ListAsync(prefix, cancellationToken))
        {
            if (Keys.RoundOfStepPoints(key) is { } round) rounds.Add(round);
        }

        foreach (var round in rounds)
        {
            var key = Keys.StepPoints(job, site, client, round);
            if (await ReadAsync(store, key, cancellationToken) is { } lines) yield return (key[prefix.Length..], lines);
        }
    }

    /// <summary>The lines of a file without the digest; null where it is not there (any more).</summary>
    /// <exception cref="CorruptBlobException">It was changed since it was written.</exception>
    public static async Task<byte[]?> ReadAsync(IBlobStore store, string key, CancellationToken cancellationToken)
    {
        if (await store.ReadBytesAsync(key, cancellationToken) is not { } bytes) return null;
        return Check(bytes) is { } problem
            ? throw new CorruptBlobException($"{key} {problem}; {WayOut}.")
            : bytes[..Body(bytes)];
    }

    /// <summary>What is wrong with a file; null where it is what was written.</summary>
    public static SealProblem? Check(ReadOnlySpan<byte> bytes)
    {
        var body = Body(bytes);
        var expected = Seal(bytes[..body]);
        return bytes[body..].SequenceEqual(expected) ? null : new SealProblem(null, DigestOf(bytes[..body]));
    }

    // Where the last line begins.
    private static int Body(ReadOnlySpan<byte> bytes) => bytes.IsEmpty ? 0 : bytes[..^1].LastIndexOf(LineEnd) + 1;

    private static byte[] Seal(ReadOnlySpan<byte> lines) => Encoding.ASCII.GetBytes($$"""{"sha256":"{{DigestOf(lines)}}"}""" + "\n");

    private static string DigestOf(ReadOnlySpan<byte> bytes) => Convert.ToHexStringLower(SHA256.HashData(bytes));

    private static void Write(Utf8JsonWriter json, StepPoint point, int attempt)
    {
        json.WriteStartObject();
        json.WriteNumber("round", point.Round);
        json.WriteNumber("attempt", attempt);
        json.WriteNumber("step", point.Step);
        Number("loss", point.Loss);
        if (point.GradientNorm is { } norm) Number("gradientNorm", norm);
        else Missing("gradientNorm", "nothing stepped");
        Number("learningRate", point.LearningRate);
        Number("tokensPerSecond", point.TokensPerSecond);
        json.WriteNumber("residentBytes", point.ResidentBytes);
        Number("seconds", point.Seconds);
        json.WriteEndObject();

        void Number(string name, double value)
        {
            if (double.IsFinite(value)) json.WriteNumber(name, value);
            else Missing(name, value.ToString(CultureInfo.InvariantCulture));
        }

        void Missing(string name, string reason)
        {
            json.WriteNull(name);
            json.WriteString(name + "Reason", reason);
        }
    }
}
