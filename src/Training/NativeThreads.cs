using System.Diagnostics.CodeAnalysis;
using System.Globalization;
using System.Runtime.CompilerServices;

namespace FedRLora.Training;

/// <summary>
/// libtorch's OpenMP threads spin while they wait for each other. On a machine that is busy with anything else, another silo for
/// instance, the one waited for is not running, and a step of 0.1 s takes 2 to 5 s; if they sleep at once, every small operation
/// pays for a wake-up. So they spin for a while and then sleep; for how long, <see cref="ThreadWaiting"/> says.
/// </summary>
internal static class NativeThreads
{
    /// <summary>What was decided when the program started.</summary>
    public static ThreadWaiting Waiting { get; private set; } = new() { SpinCount = null, Reason = "OpenMP's own default" };

    // Read once, when libtorch is loaded: before that is only here.
    [ModuleInitializer]
    [SuppressMessage("Usage", "CA2255",
        Justification = "Nothing later comes before the first tensor in every program that uses this library.")]
    internal static void Decide()
    {
        if (!OperatingSystem.IsLinux()) return;
        Waiting = ThreadWaiting.Choose(Environment.GetEnvironmentVariable, Environment.ProcessId, Processes(), Pressure());
        if (Waiting.SpinCount is { } count)
            NativeEnvironment.SetUnlessGiven("GOMP_SPINCOUNT", count.ToString(CultureInfo.InvariantCulture));
    }

    private static List<SeenProcess> Processes()
    {
        var seen = new List<SeenProcess>();
        try
        {
            foreach (var folder in Directory.EnumerateDirectories("/proc"))
            {
                var isProcess = int.TryParse(Path.GetFileName(folder), NumberStyles.None, CultureInfo.InvariantCulture, out var id);
                if (isProcess && Process(id, folder) is { } process) seen.Add(process);
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // What cannot be seen is not considered; a long wait is still one of less than a millisecond.
        }

        return seen;
    }

    // "some avg10=12.34 avg60=..."; a kernel without it has no such file, or one that cannot be read.
    private static double? Pressure()
    {
        try
        {
            var words = File.ReadAllText("/proc/pressure/cpu").Split(' ', 3);
            if (words is not ["some", var last, _]) return null;
            var share = last.Replace("avg10=", "", StringComparison.Ordinal);
            return double.TryParse(share, CultureInfo.InvariantCulture, out var percent) ? percent : null;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    // Null for one that is gone by now, or hidden. proc(5): "1234 (a name) S 1 ..."
    private static SeenProcess? Process(int id, string folder)
    {
        try
        {
            var stat = File.ReadAllText(Path.Combine(folder, "stat"));
            string[] facts = stat[(stat.LastIndexOf(')') + 1)..].Split(' ', StringSplitOptions.RemoveEmptyEntries);
            if (facts.Length < 2 || !int.TryParse(facts[1], NumberStyles.None, CultureInfo.InvariantCulture, out var parent)) return null;
            var words = File.ReadAllText(Path.Combine(folder, "cmdline")).Split('\0', StringSplitOptions.RemoveEmptyEntries);
            return new(id, parent, HasEnded: facts[0] is "Z" or "X", words);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }
}
