using System.Text.Json;
using FedRLora.Client;

namespace FedRLora.Benchmarks;

/// <summary>A plan run as <c>simulate</c> runs it, in this process and in a folder that is deleted afterwards.</summary>
/// <param name="Code">What the command ended with.</param>
/// <param name="Lines">What a run that was done printed for programs: a line for each round, then the final table.</param>
/// <param name="Error">What it wrote to its error output.</param>
internal sealed record Simulation(int Code, IReadOnlyList<JsonElement> Lines, string Error)
{
    /// <param name="yaml">The plan; its paths are absolute.</param>
    public static async Task<Simulation> RunAsync(string yaml)
    {
        var folder = Directory.CreateTempSubdirectory("fedrlora-bench-").FullName;
        try
        {
            var plan = Path.Combine(folder, "plan.yaml");
            await File.WriteAllTextAsync(plan, yaml);
            using var output = new StringWriter();
            using var error = new StringWriter();
            var code = await Cli.RunAsync(["simulate", plan, "--json", "--out", Path.Combine(folder, "run")], Client.Program.Commands,
                output, error);
            return new(code, code == ExitCode.Done ? Parsed(output.ToString()) : [], error.ToString());
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    private static List<JsonElement> Parsed(string output) =>
        [.. output.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(static line => JsonDocument.Parse(line).RootElement)];
}
