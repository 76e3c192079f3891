using FedRLora.Abstractions;

namespace FedRLora.Generator.Text;

/// <summary>SplitMix64 over a seed of <see cref="Seed.For"/>: the same text on every machine and runtime.</summary>
internal sealed class Dice(string purpose)
{
    public const ulong SampleSeed = 2502;

    private ulong _state = Seed.For(SampleSeed, 0, "", purpose);

    public int Below(int bound) => (int)(Next() % (ulong)bound);

    public bool Coin() => Below(2) == 0;

    public bool Chance(int percent) => Below(100) < percent;

    public T Pick<T>(IReadOnlyList<T> choices) => choices[Below(choices.Count)];

    /// <summary>Draws <paramref name="count"/> different elements, in random order.</summary>
    public T[] Draw<T>(IReadOnlyList<T> choices, int count)
    {
        var pool = choices.ToArray();
        for (var i = 0; i < count; i++)
        {
            var j = i + Below(pool.Length - i);
            (pool[i], pool[j]) = (pool[j], pool[i]);
        }
        return pool[..count];
    }

    public T[] Shuffle<T>(IReadOnlyList<T> items) => Draw(items, items.Count);

    private ulong Next()
    {
        var z = _state += 0x9E3779B97F4A7C15;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
        return z ^ (z >> 31);
    }
}
