using static TorchSharp.torch;

namespace FedRLora.Training.Kernels;

/// <summary>
/// Work cut into as many shares as the calling thread's products have threads. Units do not know of each other, so the cut changes
/// no bit. Whoever has one thread, as a lane does, stays on it.
/// </summary>
internal static class Shares
{
    // Less is done before another thread has woken up.
    private const long LeastElements = 1 << 15;

    /// <summary>How many shares there will be.</summary>
    /// <param name="units">What can be done apart.</param>
    /// <param name="elements">Numbers in all of them.</param>
    public static int Count(long units, long elements) =>
        elements < LeastElements ? 1 : (int)Math.Clamp(get_num_threads(), 1, Math.Max(1, units));

    /// <summary>Does all units, each share on a thread of its own.</summary>
    /// <param name="units">How many.</param>
    /// <param name="elements">Numbers in all of them.</param>
    /// <param name="work">From a first unit to before a last one; the third is the share's number. Does not throw.</param>
    public static void Do(long units, long elements, Action<long, long, int> work)
    {
        var count = Count(units, elements);
        if (count == 1) work(0, units, 0);
        else Parallel.For(0, count, share => work(units * share / count, units * (share + 1) / count, share));
    }
}
