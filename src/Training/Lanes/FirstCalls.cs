using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training.Lanes;

/// <summary>
/// The first call of each function of Intel's vector mathematics, made by one thread before any other computes. The library behind
/// libtorch 2.10 (oneMKL 2024.2) looks a function's kernel up at its first call, and of two threads that make it at once, one may
/// compute that one time with a kernel of low accuracy (pytorch/pytorch issue 188792): a score or an update would have other bits, once,
/// without a word. Products and draws are called as well, since they are looked up likewise.
/// </summary>
internal static class FirstCalls
{
    private const int Numbers = 64; // several vectors of any width

    private static readonly Lazy<bool> Calls = new(Make);

    /// <summary>Returns when they were made, whoever makes them.</summary>
    public static void AreMade() => _ = Calls.Value;

    private static bool Make()
    {
        using var scope = NewDisposeScope();
        set_num_threads(1);
        foreach (var type in (ScalarType[])[ScalarType.Float32, ScalarType.Float64])
        {
            // Inside the domain of every one of them.
            var x = full([Numbers], Living.Of(0.5), type, CPU);
            foreach (var function in (Func<Tensor, Tensor>[])
            [
                static x => x.cos(), static x => x.sin(), static x => x.tan(), static x => x.acos(), static x => x.asin(),
                static x => x.atan(),
                static x => x.tanh(), static x => x.cosh(), static x => x.sinh(), static x => x.sqrt(), static x => x.rsqrt(),
                static x => x.exp(), static x => x.expm1(), static x => x.log(), static x => x.log2(), static x => x.log10(),
                static x => x.log1p(), static x => x.erf(), static x => x.erfc(), static x => x.erfinv(), static x => x.lgamma(),
                static x => x.pow(x), static x => x.trunc(),
            ])
                _ = function(x);
            var matrix = x.reshape(8, 8);
            _ = matrix.mm(matrix);
            _ = matrix.mv(matrix[0]);
            _ = x.dot(x);
            _ = matrix.unsqueeze(0).expand(2, 8, 8).contiguous().bmm(matrix.unsqueeze(0).expand(2, 8, 8).contiguous());
            _ = empty([Numbers], type, CPU).bernoulli_(0.5, new Generator(0, CPU));
            _ = empty([Numbers], type, CPU).normal_(0, 1, new Generator(0, CPU));
        }

        return true;
    }
}
