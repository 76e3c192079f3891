using System.Buffers.Binary;
using System.Globalization;
using System.Security.Cryptography;
using System.Text;

namespace FedRLora.Abstractions;

/// <summary>
/// The only source of randomness. A seed is a digest of what the draw is for, so that the same plan draws the same numbers on
/// any host, in any order, at any attempt.
/// </summary>
public static class Seed
{
    /// <summary>The seed of one draw: the first eight bytes of SHA-256 over the four parts.</summary>
    /// <param name="planSeed">The plan's <c>seed</c>.</param>
    /// <param name="round">Round number; 0 for what is drawn before the first round.</param>
    /// <param name="client">Client id; empty for the coordinator and for what is common to all.</param>
    /// <param name="purpose">What is drawn, for example <c>selection</c> or <c>dropout/model.layers.0.q_proj/head1</c>.</param>
    public static ulong For(ulong planSeed, int round, string client, string purpose)
    {
        var text = string.Create(CultureInfo.InvariantCulture, $"{planSeed}\n{round}\n{client}\n{purpose}");
        return BinaryPrimitives.ReadUInt64LittleEndian(SHA256.HashData(Encoding.UTF8.GetBytes(text)));
    }
}
