using System.Runtime.InteropServices;

namespace FedRLora.Silo.Storage;

/// <summary>What may keep a disk from being used for a while: no room, no permission, broken or away.</summary>
public static class DiskErrors
{
    // The system's numbers, which .NET hands on, and what to do.
    private static readonly Dictionary<int, string> Passing = new()
    {
        [1] = "let this user read and write it", // EPERM
        [5] = "check the disk", // EIO
        [13] = "let this user read and write it", // EACCES
        [24] = "allow more open files", // EMFILE
        [28] = "make room", // ENOSPC
        [30] = "mount it for writing", // EROFS
        [116] = "mount it again", // ESTALE
        [122] = "raise the quota or make room", // EDQUOT
    };

    /// <summary>
    /// What the system says and what to do, as <c>No space left on device; make room</c>; null where an exception has another cause.
    /// </summary>
    public static string? Of(Exception exception) => exception switch
    {
        UnauthorizedAccessException { InnerException: IOException denied } => Of(denied),
        IOException when Passing.TryGetValue(exception.HResult, out var advice) =>
            $"{Marshal.GetPInvokeErrorMessage(exception.HResult)}; {advice}",
        _ => null,
    };

    /// <summary>The same, wherever an exception hides it.</summary>
    public static string? In(Exception? exception) => exception is null ? null : Of(exception) ?? In(exception.InnerException);

    /// <summary>Whether a disk is full, broken or read-only, whoever the user is.</summary>
    public static bool IsOfTheDisk(Exception? exception) => exception is not null
        && (exception is IOException { HResult: 5 or 28 or 30 or 122 } || IsOfTheDisk(exception.InnerException));
}
