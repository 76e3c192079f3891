using System.Reflection;
using System.Runtime.InteropServices;
using FedRLora.ControlPlane.Report;
using FedRLora.ControlPlane.Views;
using FedRLora.Training;

namespace FedRLora.Client.Doctor;

/// <summary>What a machine is, and what on it keeps a run from working.</summary>
internal sealed record Diagnosis
{
    /// <summary>The version of the schema of what programs read.</summary>
    public int Schema { get; init; } = Json.Schema;

    public required string Fedrlora { get; init; }
    public required string DotNet { get; init; }
    public required string Orleans { get; init; }
    public required string System { get; init; }
    public required string Processor { get; init; }
    public required int Processors { get; init; }
    public required long MemoryBytes { get; init; }
    public required long? FreeMemoryBytes { get; init; }

    /// <summary>Null where it cannot be loaded; a problem then says why.</summary>
    public required EngineReport? Engine { get; init; }
    public required string? CppRuntime { get; init; }
    public required string Runs { get; init; }

    /// <summary>One line each; empty when the machine is usable.</summary>
    public required IReadOnlyList<string> Problems { get; init; }

    /// <param name="runs">The folder of runs.</param>
    /// <param name="cancellationToken">The caller's token.</param>
    public static async Task<Diagnosis> MakeAsync(string runs, CancellationToken cancellationToken)
    {
        var (engine, broken) = await Task.Run(Engines, cancellationToken);
        string?[] problems = [broken, await Machine.LoopbackProblemAsync(cancellationToken), Machine.WriteProblem(runs)];
        return new Diagnosis
        {
            Fedrlora = VersionOf(typeof(Program)),
            DotNet = Environment.Version.ToString(),
            Orleans = VersionOf(typeof(Grain)),
            System = $"{RuntimeInformation.OSDescription}, {RuntimeInformation.OSArchitecture}",
            Processor = Machine.Processor(),
            Processors = Environment.ProcessorCount,
            MemoryBytes = Machine.MemoryBytes,
            FreeMemoryBytes = Machine.FreeMemoryBytes(),
            Engine = engine,
            CppRuntime = engine is null ? null : Machine.CppRuntime(),
            Runs = Path.GetFullPath(runs),
            Problems = [.. problems.OfType<string>(), .. engine?.Wrong.Select(static line => $"libtorch computes wrongly: {line}") ?? []],
        };
    }

    private static (EngineReport? Report, string? Problem) Engines()
    {
        try
        {
            return (EngineReport.Measure(), null);
        }
#pragma warning disable CA1031 // Whatever keeps the engine from working is the answer.
        catch (Exception e)
#pragma warning restore CA1031
        {
            return (null, $"libtorch: cannot be used: {e.GetBaseException().Message.ReplaceLineEndings(" ")}");
        }
    }

    private static string VersionOf(Type type) => ReportFacts.VersionOf(type);
}
