using System.Diagnostics.CodeAnalysis;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace FedRLora.Training;

/// <summary>
/// libtorch's OpenMP threads spin while they wait for each other. On a machine that is busy with anything else, another silo for
/// instance, the one waited for is not running, and a step of 0.1 s takes 2 to 5 s; if they sleep at once, every small operation
/// pays for a wake-up. So they spin for some microseconds and then sleep, unless the environment says otherwise: on a machine of
/// its own, OMP_WAIT_POLICY=ACTIVE saves the rest of the wake-ups.
/// </summary>
internal static partial class NativeThreads
{
    // Read once, when libtorch is loaded: before that is only here. The runtime's own SetEnvironmentVariable does not reach native code.
    [ModuleInitializer]
    [SuppressMessage("Usage", "CA2255", Justification = "Nothing later comes before the first tensor in every program that uses this library.")]
    internal static void WaitBriefly()
    {
        if (!OperatingSystem.IsLinux()) return;
        if (Environment.GetEnvironmentVariable("OMP_WAIT_POLICY") is null && Environment.GetEnvironmentVariable("GOMP_SPINCOUNT") is null)
            _ = SetVariable("GOMP_SPINCOUNT", "1000", overwrite: 0);
    }

    [LibraryImport("libc", EntryPoint = "setenv", StringMarshalling = StringMarshalling.Utf8)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int SetVariable(string name, string value, int overwrite);
}
