using System.CommandLine;
using System.Globalization;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Ports;
using FedRLora.Client.Local;
using FedRLora.ControlPlane.Views;

namespace FedRLora.Client.Commands;

/// <summary><c>fedrlora export runs/NAME-N</c>: adapters of the last committed round, also of a run that is not finished.</summary>
internal static class ExportCommand
{
    public static Command Create()
    {
        var folder = new Argument<string>("run") { Description = "A folder that fedrlora simulate made" };
        var target = new Option<string?>("--out")
        {
            Description = "Where the adapters go, one folder per client; by default RUN/adapters, with --vllm RUN/adapters-vllm, "
                + "and with --task RUN/task-adapters, RUN/task-adapters-vllm",
        };
        var task = new Option<string[]>("--task")
        {
            Description = "One adapter for a task, whose clients share all of it, instead of one for each client, "
                + "in a folder of the task's name, or of a digest of it where that cannot be one; may be repeated",
        };
        var vllm = new Option<bool>("--vllm") { Description = "As vLLM loads it: one rank that it accepts, plain LoRA on linear layers" };
        var pad = new Option<bool>("--pad-rank") { Description = "With --vllm: pad ranks with zeros to the next that vLLM accepts" };
        var nearest = new Option<bool>("--nearest")
        {
            Description = "Where heads are mixed by a router: the nearest static form, all heads weighed equally",
        };
        var relative = new Option<bool>("--relative-base")
        {
            Description = "Name the base model by its path from the adapter's folder, for a tree that moves as a whole; "
                + "by default by its whole path",
        };
        var command = new Command("export", "Write every client's adapter of the last committed round in PEFT's layout")
        {
            folder, target, task, vllm, pad, nearest, relative,
        };
        command.SetAction(async (parsed, cancellationToken) =>
        {
            if (parsed.GetValue(pad) && !parsed.GetValue(vllm))
                throw new BadInputException("--pad-rank: only vLLM asks for certain ranks; give --vllm too");
            var run = RunDirectory.Open(parsed.GetRequiredValue(folder));
            var form = new ExportForm { Vllm = parsed.GetValue(vllm), PadRank = parsed.GetValue(pad), Nearest = parsed.GetValue(nearest) };
            var tasks = parsed.GetValue(task) ?? [];
            var adapters = parsed.GetValue(target) ?? (tasks.Length == 0 ? run.AdaptersOf(form) : run.TaskAdaptersOf(form));
            var committed = await CommittedRun.OpenAsync(run, cancellationToken);
            var written = tasks.Length == 0
                ? await committed.ExportAsync(adapters, form, parsed.GetValue(relative), cancellationToken)
                : await committed.ExportTasksAsync(adapters, tasks, form, parsed.GetValue(relative), cancellationToken);
            var round = string.Create(CultureInfo.InvariantCulture, $"{committed.Manifest.Round}/{committed.Plan.Strategy.Rounds}");
            await parsed.InvocationConfiguration.Output.WriteLineAsync(
                $"{Words.Count(written, "adapter")} of round {round}: {adapters}/{(tasks.Length == 0 ? "CLIENT" : "TASK")}, "
                + $"in {form.Text}");
            foreach (var name in tasks.Distinct(StringComparer.Ordinal).Where(static name => Identifiers.Of(name) != name))
                await parsed.InvocationConfiguration.Output.WriteLineAsync($"{name}: {adapters}/{Identifiers.Of(name)}");
            return ExitCode.Done;
        });
        return command;
    }
}
