using System.Collections.Concurrent;
using System.Runtime.InteropServices;
using System.Text;

namespace FedRLora.Training.Devices;

/// <summary>A GPU as NVIDIA's driver knows it; TorchSharp does not say which one it computes on.</summary>
/// <param name="Name">Of the product, or of the part of one.</param>
/// <param name="Major">Of its compute capability.</param>
/// <param name="Minor">As <paramref name="Major"/>.</param>
/// <param name="Processors">How many multiprocessors it has; a part of a GPU has fewer.</param>
internal sealed unsafe partial record Gpu(string Name, int Major, int Minor, int Processors)
{
    private const string Driver = "libcuda.so.1";
    private const int MultiprocessorCount = 16, ComputeCapabilityMajor = 75, ComputeCapabilityMinor = 76; // CUdevice_attribute
    private const int LongestName = 256;
    private const string Blas = "libcublas.so";

    private static readonly ConcurrentDictionary<int, Gpu> Known = [];

    /// <summary>What libraries pick their kernels by, as a part of a fingerprint: equal for GPUs of a kind.</summary>
    public string Mark => $"{Name.Replace(' ', '-').Replace(';', '-')}/sm_{Major}{Minor}/{Processors}";

    /// <summary>
    /// The version of NVIDIA's library of products, which gives equal bits within one alone and may be replaced without libtorch.
    /// </summary>
    public static string BlasMark => $"cublas-{BlasVersion() ?? "unknown"}";

    /// <summary>One of those that the process may use.</summary>
    /// <param name="number">As libtorch counts, which asks the same driver.</param>
    /// <exception cref="DllNotFoundException">There is no driver.</exception>
    /// <exception cref="InvalidOperationException">The driver refuses.</exception>
    public static Gpu Of(int number) => Known.GetOrAdd(number, Ask);

    /// <summary>Bytes that nobody has, in this process or another.</summary>
    /// <inheritdoc cref="Of" path="/param|/exception"/>
    public static long FreeBytes(int number)
    {
        var gpu = Open(number);
        // The context that libtorch works in, made if it was not there.
        Require(cuDevicePrimaryCtxRetain(out var context, gpu), "cuDevicePrimaryCtxRetain");
        try
        {
            Require(cuCtxPushCurrent(context), "cuCtxPushCurrent");
            try
            {
                Require(cuMemGetInfo(out var free, out _), "cuMemGetInfo");
                return (long)free;
            }
            finally
            {
                _ = cuCtxPopCurrent(out _);
            }
        }
        finally
        {
            _ = cuDevicePrimaryCtxRelease(gpu);
        }
    }

    // libraryPropertyType: 0, 1 and 2 are the parts of a version.
    private static string? BlasVersion()
    {
        if (Libtorch.LoadedFile(Blas) is not { } file || !NativeLibrary.TryLoad(file, out var library)
            || !NativeLibrary.TryGetExport(library, "cublasGetProperty", out var address)) return null;
        var part = (delegate* unmanaged<int, int*, int>)address;
        var parts = stackalloc int[3];
        for (var which = 0; which < 3; which++)
            if (part(which, parts + which) != 0) return null;
        return $"{parts[0]}.{parts[1]}.{parts[2]}";
    }

    private static Gpu Ask(int number)
    {
        var gpu = Open(number);
        var name = stackalloc byte[LongestName];
        Require(cuDeviceGetName(name, LongestName, gpu), "cuDeviceGetName");
        name[LongestName - 1] = 0;
        var shown = Encoding.UTF8.GetString(MemoryMarshal.CreateReadOnlySpanFromNullTerminated(name));
        return new(shown, Attribute(ComputeCapabilityMajor), Attribute(ComputeCapabilityMinor), Attribute(MultiprocessorCount));

        int Attribute(int which)
        {
            Require(cuDeviceGetAttribute(out var value, which, gpu), "cuDeviceGetAttribute");
            return value;
        }
    }

    private static int Open(int number)
    {
        Require(cuInit(0), "cuInit");
        Require(cuDeviceGet(out var gpu, number), "cuDeviceGet");
        return gpu;
    }

    private static void Require(int answer, string call)
    {
        if (answer != 0) throw new InvalidOperationException($"NVIDIA's driver answers {call} with error {answer}");
    }

    [LibraryImport(Driver, EntryPoint = "cuInit")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int cuInit(uint flags);

    [LibraryImport(Driver, EntryPoint = "cuDeviceGet")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int cuDeviceGet(out int gpu, int number);

    [LibraryImport(Driver, EntryPoint = "cuDeviceGetName")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int cuDeviceGetName(byte* name, int length, int gpu);

    [LibraryImport(Driver, EntryPoint = "cuDeviceGetAttribute")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int cuDeviceGetAttribute(out int value, int attribute, int gpu);

    [LibraryImport(Driver, EntryPoint = "cuDevicePrimaryCtxRetain")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int cuDevicePrimaryCtxRetain(out nint context, int gpu);

    [LibraryImport(Driver, EntryPoint = "cuDevicePrimaryCtxRelease_v2")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int cuDevicePrimaryCtxRelease(int gpu);

    [LibraryImport(Driver, EntryPoint = "cuCtxPushCurrent_v2")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int cuCtxPushCurrent(nint context);

    [LibraryImport(Driver, EntryPoint = "cuCtxPopCurrent_v2")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int cuCtxPopCurrent(out nint context);

    [LibraryImport(Driver, EntryPoint = "cuMemGetInfo_v2")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int cuMemGetInfo(out nuint free, out nuint total);
}
