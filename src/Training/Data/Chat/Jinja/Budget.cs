using System.Runtime.CompilerServices;

namespace FedRLora.Training.Data.Chat.Jinja;

/// <summary>
/// What one run of a template may cost. Every evaluation, iteration and new value is paid for with about the bytes it takes, before
/// they are taken, so loops, output and intermediate values share one bound.
/// </summary>
/// <param name="sizeBytes">The bound.</param>
internal sealed class Budget(long sizeBytes)
{
    private const int MaxDepth = 1000;
    private long _left = sizeBytes;
    private int _depth;

    /// <exception cref="JinjaException">The budget is spent.</exception>
    public void Spend(long size)
    {
        if (size > _left)
            throw new JinjaException(
                "the template does more than any conversation of this size needs; bound its loops and what it repeats");
        _left -= size;
    }

    /// <summary>Pays for a text of so many UTF-16 units.</summary>
    public void SpendText(long length) => Spend(32 + 2 * length);

    /// <summary>Pays for going through a text once.</summary>
    public void SpendLook(string text) => Spend(16 + text.Length);

    /// <summary>Pays for a search, which at worst compares at every place.</summary>
    public void SpendSearch(string text, string part) => Spend(16 + text.Length + (long)text.Length * part.Length / 256);

    /// <summary>One level of nesting more; paired with <see cref="Leave"/> unless the run ends.</summary>
    public void Enter()
    {
        if (++_depth > MaxDepth || !RuntimeHelpers.TryEnsureSufficientExecutionStack())
            throw new JinjaException("the template nests too deep; look for a macro that calls itself without end");
    }

    public void Leave() => _depth--;
}
