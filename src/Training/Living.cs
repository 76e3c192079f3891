using TorchSharp;

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

    /// <summary>A number of the same type.</summary>
    public static Scalar Of(double value) => Keep(value.ToScalar());

    /// <inheritdoc cref="Of(double)"/>
    public static Scalar Of(float value) => Keep(value.ToScalar());

    /// <inheritdoc cref="Of(double)"/>
    public static Scalar Of(int value) => Keep(value.ToScalar());

    /// <inheritdoc cref="Of(double)"/>
    public static Scalar Of(long value) => Keep(value.ToScalar());

    private static Scalar Keep(Scalar scalar)
    {
        _last ??= new Scalar[Kept];
        return _last[_next = (_next + 1) % Kept] = scalar;
    }
}
