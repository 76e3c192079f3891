using static TorchSharp.torch;

namespace FedRLora.Training.Lanes;

/// <summary>
/// How many threads the library uses for the calling thread. It keeps a number for each thread, and a new thread begins with the last
/// one that anybody set, so every thread that touches a tensor whose bits count says its own.
/// </summary>
internal static class ThreadCount
{
    [ThreadStatic]
    private static int _used;

    /// <summary>Products of this thread use so many threads from now on.</summary>
    public static void Use(int threads)
    {
        if (_used == threads) return;
        FirstCalls.AreMade();
        _ = get_num_threads(); // a thread's first question, or product, takes what anybody set last, over what was set here before
        set_num_threads(threads);
        _used = threads;
    }
}
