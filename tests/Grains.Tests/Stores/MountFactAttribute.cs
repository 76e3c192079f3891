using System.Diagnostics;

namespace FedRLora.Grains.Tests.Stores;

/// <summary>A test that mounts a small file system of its own, or is skipped saying why.</summary>
internal sealed class MountFactAttribute : FactAttribute
{
    private static readonly bool Permitted = TryMount();

    public MountFactAttribute() => Skip = Permitted ? null! : "mounting a tmpfs is not permitted here";

    public static bool Run(string program, params string[] arguments)
    {
        using var process = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardError = true })!;
        process.WaitForExit();
        return process.ExitCode == 0;
    }

    private static bool TryMount()
    {
        var folder = Directory.CreateTempSubdirectory("fedrlora-mount-").FullName;
        try
        {
            return Environment.UserName == "root" && Run("mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder)
                && Run("umount", folder);
        }
        finally
        {
            Directory.Delete(folder);
        }
    }
}
