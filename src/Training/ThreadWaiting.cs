using System.Globalization;
using FedRLora.Abstractions;

namespace FedRLora.Training;

/// <summary>
/// How long libtorch's OpenMP threads spin before they sleep while they wait for each other, decided once, when the program starts.
/// The bits of a result do not depend on it.
/// </summary>
public sealed record ThreadWaiting
{
    /// <summary><c>brief</c> or <c>long</c>; everything else is as if it were not set.</summary>
    public const string Variable = "FEDRLORA_SPIN";

    /// <summary>Some microseconds: beside other processes a thread that spins burns the core that the one waited for needs.</summary>
    internal const int Brief = 1000;

    /// <summary>
    /// A fraction of a millisecond (0.24 on an AMD Zen 5): longer than most pauses within a step. With ten times as much, a step on a
    /// busy machine takes two to five times as long again.
    /// </summary>
    internal const int Long = 10_000;

    private const double BusyPressure = 30;

    // Variables of libgomp itself; what they say is done.
    private static readonly string[] OfTheLibrary = ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT"];

    // They ask others, or read and write files; the rest computes, or will.
    private static readonly string[] DoNotCompute =
    [
        "submit", "watch", "runs", "open", "pause", "cancel", "validate", "methods", "verify", "repair", "gc", "doctor",
        "--help", "-h", "-?", "--version",
    ];

    /// <summary>What was decided for this process when it started.</summary>
    public static ThreadWaiting OfThisProcess => NativeThreads.Waiting;

    /// <summary>Turns of libgomp's waiting loop; null where its own variables decide.</summary>
    public required int? SpinCount { get; init; }

    /// <summary>The choice in a word.</summary>
    public string Spin => SpinCount switch { Brief => "brief", Long => "long", _ => "the library's" };

    /// <summary>Why, in words that follow the choice.</summary>
    public required string Reason { get; init; }

    /// <summary>What is wrong with <see cref="Variable"/>; null for nothing.</summary>
    public string? Problem { get; init; }

    /// <summary>Threads wait briefly beside another process of this program or on a busy machine, and longer on any other.</summary>
    /// <param name="variable">The value of a variable of the environment, or null.</param>
    /// <param name="self">The number of this process.</param>
    /// <param name="processes">Those of the machine that can be seen, with this one and its ancestors.</param>
    /// <param name="pressure">
    /// Per cent of the last ten seconds in which something waited for a core, in any container; null where the system does not say.
    /// </param>
    internal static ThreadWaiting Choose(Func<string, string?> variable, int self, IReadOnlyList<SeenProcess> processes, double? pressure)
    {
        var wish = variable(Variable);
        var problem = wish is null or "" or "brief" or "long"
            ? null
            : $"{Variable}: '{BadInputException.Shown(wish)}' is neither brief nor long; give one of them, or unset it.";
        if (OfTheLibrary.FirstOrDefault(name => variable(name) is not null) is { } given)
            return new() { SpinCount = null, Reason = $"{given} is set", Problem = problem };
        if (wish is "brief" or "long") return new() { SpinCount = wish == "brief" ? Brief : Long, Reason = $"{Variable} is set" };

        var own = OwnLine(self, processes);
        var other = processes.FirstOrDefault(process => !own.Contains(process.Id) && !process.HasEnded && Computes(process.CommandLine));
        var reason = other is not null ? $"another fedrlora, process {other.Id}, was at work at the start"
            : pressure >= BusyPressure
                ? string.Create(CultureInfo.InvariantCulture, $"at the start something waited for a core in {pressure:0} % of the time")
            : null;
        return new()
        {
            SpinCount = reason is null ? Long : Brief,
            Reason = reason ?? "the machine had cores to spare and no other fedrlora at work at the start",
            Problem = problem,
        };
    }

    // A launcher, or a program that runs this one and waits for it, is not beside it.
    private static HashSet<int> OwnLine(int self, IReadOnlyList<SeenProcess> processes)
    {
        var own = new HashSet<int>();
        for (var at = processes.FirstOrDefault(process => process.Id == self); at is not null && own.Add(at.Id);)
        {
            var parent = at.Parent;
            at = processes.FirstOrDefault(process => process.Id == parent);
        }

        return own;
    }

    // fedrlora silo, dotnet .../fedrlora.dll silo, bash ./fedrlora silo; neither an editor of a file of that name nor a search for it.
    private static bool Computes(IReadOnlyList<string> line)
    {
        if (line.Count == 0) return false;
        var program = FileName(line[0]) switch
        {
            "fedrlora" => 0,
            "dotnet" => line.TakeWhile(static word => FileName(word) != "fedrlora.dll").Count(),
            "bash" or "sh" when line.Count > 1 && FileName(line[1]) == "fedrlora" => 1,
            _ => line.Count,
        };
        return program + 1 < line.Count && !DoNotCompute.Contains(line[program + 1], StringComparer.Ordinal);
    }

    private static string FileName(string path) => path[(path.LastIndexOf('/') + 1)..];
}

/// <summary>What is seen of a process.</summary>
/// <param name="Id">Its number.</param>
/// <param name="Parent">That of its parent; 0 for none.</param>
/// <param name="HasEnded">Whether it only waits to be asked how it ended.</param>
/// <param name="CommandLine">Its words.</param>
internal sealed record SeenProcess(int Id, int Parent, bool HasEnded, IReadOnlyList<string> CommandLine);
