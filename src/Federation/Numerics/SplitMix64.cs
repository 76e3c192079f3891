namespace FedRLora.Federation.Numerics;

/// <summary>
/// SplitMix64 (Steele, Lea, Flood, OOPSLA 2014): a small generator whose sequence is fixed by its definition, not by a library version.
/// </summary>
public sealed class SplitMix64(ulong seed)
{
    private ulong _state = seed;

    /// <summary>The next 64 bits.</summary>
    public ulong Next()
    {
        _state += 0x9E3779B97F4A7C15;
        var z = _state;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
        return z ^ (z >> 31);
    }

    /// <summary>A uniform draw from 0 to <paramref name="count"/> - 1, without bias.</summary>
    /// <param name="count">At least 1.</param>
    public int Next(int count)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(count);
        var bound = (ulong)count;
        var rejected = (0UL - bound) % bound;   // 2^64 mod count: the incomplete last block
        ulong draw;
        do
        {
            draw = Next();
        }
        while (draw < rejected);
        return (int)(draw % bound);
    }

    /// <summary>A uniform draw from [0, 1): the upper 53 bits, as many as a double holds.</summary>
    public double NextUnit() => (Next() >> 11) * (1.0 / (1UL << 53));
}
