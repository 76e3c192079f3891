using System.Runtime.InteropServices;

namespace FedRLora.Training;

/// <summary>
/// The end of a process in which a thread is still in libtorch: an ordinary exit runs native clean-up under it, which crashes.
/// </summary>
public static partial class NativeExit
{
    /// <summary>Whether a device's threads could not be waited for, so that the process has to end by <see cref="Leave"/>.</summary>
    public static bool IsWorkLeft { get; internal set; }

    /// <summary>Ends the process at once, without native clean-up where the system can do that.</summary>
    public static void Leave(int code)
    {
        if (!OperatingSystem.IsWindows()) ExitNow(code);
        Environment.Exit(code);
    }

    [LibraryImport("libc", EntryPoint = "_exit")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial void ExitNow(int code);
}
