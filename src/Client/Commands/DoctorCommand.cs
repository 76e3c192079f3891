using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using FedRLora.Client.Doctor;
using FedRLora.ControlPlane.Views;
using FedRLora.Training;

namespace FedRLora.Client.Commands;

/// <summary><c>fedrlora doctor</c>: whether this machine can run a federation, and how fast.</summary>
internal static class DoctorCommand
{
    public static Command Create()
    {
        var runs = new Option<string>("--out")
        {
            Description = "The folder that runs are to go to",
            DefaultValueFactory = static _ => "runs",
        };
        var json = SharedOptions.Json();
        var command = new Command("doctor", "Say what this machine is and what keeps a run from working on it") { runs, json };
        command.SetAction(async (parsed, cancellationToken) =>
        {
            var (output, error) = (parsed.InvocationConfiguration.Output, parsed.InvocationConfiguration.Error);
            var diagnosis = await Diagnosis.MakeAsync(parsed.GetRequiredValue(runs), cancellationToken);
            if (parsed.GetValue(json)) await output.WriteLineAsync(JsonSerializer.Serialize(diagnosis, Json.Indented));
            else await output.WriteAsync(Text(diagnosis));
            foreach (var problem in diagnosis.Problems) await error.WriteLineAsync(problem);
            return diagnosis.Problems.Count == 0 ? ExitCode.Done : ExitCode.Environment;
        });
        return command;
    }

    private static string Text(Diagnosis found)
    {
        var lines = new List<(string Name, string? Value)>
        {
            ("fedrlora", found.Fedrlora),
            (".NET", found.DotNet),
            ("Orleans", found.Orleans),
            ("TorchSharp", found.Engine?.TorchSharp),
            ("libtorch", found.Engine?.Libtorch),
            ("BLAS", found.Engine is null ? null : found.Engine.Blas ?? Words.None),
            ("C++ runtime", found.CppRuntime),
            ("system", found.System),
            ("processor", $"{found.Processor}, {Words.Count(found.Processors, "core")}"),
            ("kernels", found.Engine?.Kernels),
            ("bfloat16 units", found.Engine is null ? null : found.Engine.Bfloat16 ?? Words.None),
            ("devices", found.Engine is null ? null : string.Join(", ", found.Engine.Devices)),
            ("known answers", found.Engine?.Wrong.Count switch { null => null, 0 => "all right", var count => $"{count} wrong" }),
            ("lanes", found.Engine is null ? null : Lanes(found.Engine)),
            ("matrix product", found.Engine is null ? null : Products(found.Engine)),
            ("waiting threads", found.Engine is null ? null : Waiting(found.Engine.Waiting)),
            ("memory", $"{Words.Bytes(found.MemoryBytes)}{(found.FreeMemoryBytes is { } free ? $", {Words.Bytes(free)} free" : "")}"),
            ("runs go to", found.Runs),
        };
        var width = lines.Max(static line => line.Name.Length);
        return string.Concat(
            lines.Where(static line => line.Value is not null).Select(line => $"{line.Name.PadRight(width)}  {line.Value}\n"));
    }

    private static string Lanes(EngineReport engine) =>
        $"{engine.Lanes} on the CPU, with {Words.Count(engine.LaneThreads, "thread")} each"
        + (engine.Devices.Count > 1 ? "; 1 on a GPU" : "");

    private static string Products(EngineReport engine) => string.Create(CultureInfo.InvariantCulture,
        $"{engine.GflopsOneThread:0} GFLOP/s in 1 lane, {engine.GflopsAllLanes:0} in {engine.Lanes} at once, ")
        + string.Create(CultureInfo.InvariantCulture,
            $"{engine.GflopsAllThreads:0} on {Words.Count(engine.Threads, "thread")} of one (float32, 1024 x 1024)");

    private static string Waiting(ThreadWaiting waiting) => waiting.SpinCount is { } turns
        ? string.Create(CultureInfo.InvariantCulture, $"{waiting.Spin}: spin {turns:N0} turns, then sleep; {waiting.Reason}")
        : $"as OpenMP has it; {waiting.Reason}";
}
