using System.CommandLine;

namespace FedRLora.Client.Commands;

/// <summary>Options that mean the same in several commands.</summary>
internal static class SharedOptions
{
    public static Option<bool> Json() => new("--json") { Description = "Write JSON for programs to standard output" };
}
