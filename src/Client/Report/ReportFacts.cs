using System.Reflection;
using FedRLora.Training.Adapters;

namespace FedRLora.Client.Report;

/// <summary>What a report says of how it came about, beside what the rounds tell.</summary>
/// <param name="Written">When.</param>
/// <param name="Version">By which version of the program.</param>
/// <param name="Hosts">Processes that worked on the run.</param>
/// <param name="ForkedFrom">Of a fork: the run and the round it began from.</param>
/// <param name="Sizes">Of the adapter's tensors; null where the model says none.</param>
internal sealed record ReportFacts(
    DateTimeOffset Written, string Version, int Hosts, string? ForkedFrom = null, AdapterSizes? Sizes = null)
{
    /// <summary>The version of an assembly, without what a build adds to it.</summary>
    public static string VersionOf(Type type) =>
        type.Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()?.InformationalVersion
            .Split(['+', ' '])[0].TrimEnd('.') ?? "unknown";
}
