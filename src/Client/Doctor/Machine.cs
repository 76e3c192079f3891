using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Runtime.InteropServices;

namespace FedRLora.Client.Doctor;

/// <summary>What can be asked of the machine itself.</summary>
internal static class Machine
{
    private const string VersionTag = "GLIBCXX_3.4.32";

    public static string Processor() => ValueOf("/proc/cpuinfo", "model name") ?? RuntimeInformation.ProcessArchitecture.ToString();

    /// <summary>Memory that this process may use, with the bound of its container.</summary>
    public static long MemoryBytes => GC.GetGCMemoryInfo().TotalAvailableMemoryBytes;

    /// <summary>Memory that nobody uses; null where the system does not say.</summary>
    public static long? FreeMemoryBytes() =>
        ValueOf("/proc/meminfo", "MemAvailable") is { } text
            && long.TryParse(text.Split(' ')[0], CultureInfo.InvariantCulture, out var kibibytes)
            ? kibibytes << 10 : null;

    /// <summary>Which C++ runtime the engine runs on; null where that is no question. Ask when the engine is loaded.</summary>
    public static string? CppRuntime()
    {
        if (!OperatingSystem.IsLinux()) return null;
        using var process = System.Diagnostics.Process.GetCurrentProcess();
        var path = process.Modules.Cast<System.Diagnostics.ProcessModule>().Select(static module => module.FileName)
            .FirstOrDefault(static file => Path.GetFileName(file)?.StartsWith("libstdc++.so", StringComparison.Ordinal) == true);
        if (path is null || !File.Exists(path)) return null;
        return File.ReadAllBytes(path).AsSpan().IndexOf("GLIBCXX_3.4.32\0"u8) >= 0
            ? $"{path} has {VersionTag}"
            : $"{path} lacks {VersionTag}; the engine runs from the copy that does not insist on it";
    }

    /// <summary>Opens, connects and closes a socket on loopback; the reason why not, or null.</summary>
    public static async Task<string?> LoopbackProblemAsync(CancellationToken cancellationToken)
    {
        try
        {
            using var listener = new TcpListener(IPAddress.Loopback, 0);
            listener.Start();
            using var client = new TcpClient();
            await client.ConnectAsync((IPEndPoint)listener.LocalEndpoint, cancellationToken);
            using var accepted = await listener.AcceptTcpClientAsync(cancellationToken);
            return null;
        }
        catch (SocketException e)
        {
            return $"loopback: no socket can be opened on 127.0.0.1 ({e.Message}); a run needs two ports there.";
        }
    }

    /// <summary>Writes and deletes a file; the reason why not, or null.</summary>
    /// <param name="folder">A folder that is or is not there yet.</param>
    public static string? WriteProblem(string folder)
    {
        var existing = Path.GetFullPath(folder);
        while (!Directory.Exists(existing) && Path.GetDirectoryName(existing) is { } parent) existing = parent;
        try
        {
            using var file = new FileStream(Path.Combine(existing, $".fedrlora-{Guid.NewGuid():n}"), FileMode.CreateNew, FileAccess.Write,
                FileShare.None, 1, FileOptions.DeleteOnClose);
            file.WriteByte(0);
            return null;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return $"{folder}: cannot be written ({e.Message}); run where you may write, or give simulate another folder with --out.";
        }
    }

    private static string? ValueOf(string file, string key) => !File.Exists(file) ? null : File.ReadLines(file)
        .FirstOrDefault(line => line.StartsWith(key, StringComparison.Ordinal))?.Split(':', 2)[^1].Trim();
}
