using System.Reflection;

namespace FedRLora.ControlPlane.Report;

/// <summary>What a report says of how it came about, beside what the rounds tell.</summary>
/// <param name="Written">When.</param>
/// <param name="Version">By which version of the program.</param>
/// <param name="Hosts">Processes that worked on the run.</param>
/// <param name="ForkedFrom">Of a fork: the run and the round it began from.</param>
/// <param name="BytesOf">Bytes of one client's tensors by their role; null where the model says none.</param>
internal sealed record ReportFacts(
    DateTimeOffset Written, string Version, int Hosts, string? ForkedFrom = null,
    IReadOnlyDictionary<string, long>? BytesOf = null)
{
    /// <summary>The version of an assembly, without what a build adds to it.</summary>
    public static string VersionOf(Type type) =>
        type.Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()?.InformationalVersion
            .Split(['+', ' '])[0].TrimEnd('.') ?? "unknown";
}
