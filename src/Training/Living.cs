using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training;

/// <summary>
/// Numbers for libtorch that stay alive while they are read. TorchSharp passes a number as an object of native memory, which nothing
/// refers to once its handle was taken: a collection at that moment frees what the native call is about to read, which then throws,
/// or computes with whatever lies there. So the last ones of each thread are kept.
/// </summary>
internal static class Living
{
    private const int Kept = 64; // far more than one call takes

    [ThreadStatic]
    private static Scalar[]? _last;

    [ThreadStatic]
    private static int _next;

    /// <summary>The number that TorchSharp would make for itself in a sum, <c>a.add(b)</c>, and let go of at once.</summary>
    public static Scalar One { get; } = 1.ToScalar();

    /// <summary>A number of the same type.</summary>
    public static Scalar Of(double value) => Keep(value.ToScalar());

    /// <inheritdoc cref="Of(double)"/>
    public static Scalar Of(float value) => Keep(value.ToScalar());

    /// <inheritdoc cref="Of(double)"/>
    public static Scalar Of(int value) => Keep(value.ToScalar());

    /// <inheritdoc cref="Of(double)"/>
    public static Scalar Of(long value) => Keep(value.ToScalar());

    /// <summary>a + b; TorchSharp's own operator lets go of the 1 that it multiplies b by.</summary>
    public static Tensor Plus(this Tensor a, Tensor b) => a.add(b, One);

    /// <inheritdoc cref="Plus(Tensor, Tensor)"/>
    public static Tensor Plus(this Tensor a, Scalar b) => a.add(b, One);

    /// <summary>a a; TorchSharp's own square lets go of its exponent.</summary>
    public static Tensor Squared(this Tensor a) => a * a;

    /// <summary>
    /// Whole numbers from one to before another, int64 or as asked; shorter forms of TorchSharp let go of their first and step.
    /// </summary>
    public static Tensor Range(long first, long end, Device device, ScalarType dtype = ScalarType.Int64) =>
        arange(Of(first), Of(end), One, dtype, device);

    private static Scalar Keep(Scalar scalar)
    {
        _last ??= new Scalar[Kept];
        return _last[_next = (_next + 1) % Kept] = scalar;
    }
}
