using System.Runtime.InteropServices;

namespace FedRLora.Training;

/// <summary>Variables as native libraries read them: the runtime's own SetEnvironmentVariable does not reach native code.</summary>
internal static partial class NativeEnvironment
{
    /// <summary>Sets one unless whoever started the program did.</summary>
    public static void SetUnlessGiven(string name, string value) => _ = SetVariable(name, value, overwrite: 0);

    [LibraryImport("libc", EntryPoint = "setenv", StringMarshalling = StringMarshalling.Utf8)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int SetVariable(string name, string value, int overwrite);
}
