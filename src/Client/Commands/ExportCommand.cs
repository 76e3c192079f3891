using System.CommandLine;
using System.Globalization;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;
using FedRLora.Client.Control;
using FedRLora.Client.Local;
using FedRLora.ControlPlane.Views;

namespace FedRLora.Client.Commands;

/// <summary>
/// <c>fedrlora export runs/NAME-N</c>, or a run's name with <c>--server</c>: adapters of the last committed round, also of a run that is
/// not finished.
/// </summary>
internal static class ExportCommand
{
    public static Command Create()
    {
        var folder = new Option<string?>("--out")
        {
            Description = "Where the adapters go, one folder per client; by default RUN/adapters, with --vllm RUN/adapters-vllm, "
                + "and with --task RUN/task-adapters, RUN/task-adapters-vllm; with --server it has to be given",
        };
        var client = new Option<string[]>("--client") { Description = "This client's adapter alone; may be repeated" };
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
                + "by default by its whole path, and with --server as the plan names it",
        };
        var command = new Command("export", "Write every client's adapter of the last committed round in PEFT's layout");
        var run = RunTarget.AddTo(command);
        foreach (var option in new Option[] { folder, client, task, vllm, pad, nearest, relative }) command.Add(option);
        command.SetAction(async (parsed, cancellationToken) =>
        {
            if (parsed.GetValue(pad) && !parsed.GetValue(vllm))
                throw new BadInputException("--pad-rank: only vLLM asks for certain ranks; give --vllm too");
            var (clients, tasks) = (parsed.GetValue(client) ?? [], parsed.GetValue(task) ?? []);
            if (clients.Length > 0 && tasks.Length > 0)
                throw new BadInputException("--client and --task exclude each other: an adapter is a client's or a task's");
            var form = new ExportForm { Vllm = parsed.GetValue(vllm), PadRank = parsed.GetValue(pad), Nearest = parsed.GetValue(nearest) };
            var asked = new Asked(form, clients, tasks, parsed.GetValue(folder), parsed.GetValue(relative));
            return run.IsOnSilos(parsed)
                ? await FetchAsync(run, asked, parsed, cancellationToken)
                : await WriteAsync(run.Folder(parsed), asked, parsed.InvocationConfiguration.Output, cancellationToken);
        });
        return command;
    }

    private static async Task<int> WriteAsync(RunDirectory run, Asked asked, TextWriter output, CancellationToken cancellationToken)
    {
        var adapters = asked.Folder ?? (asked.Tasks.Count == 0 ? run.AdaptersOf(asked.Form) : run.TaskAdaptersOf(asked.Form));
        var committed = await CommittedRun.OpenAsync(run, cancellationToken);
        var written = asked.Tasks.Count == 0
            ? await committed.ExportAsync(
                adapters, asked.Clients.Count > 0 ? asked.Clients : null, asked.Form, asked.RelativeBase, cancellationToken)
            : await committed.ExportTasksAsync(adapters, asked.Tasks, asked.Form, asked.RelativeBase, cancellationToken);
        await SayAsync(written, committed.Manifest.Round, committed.Plan, adapters, asked, output);
        return ExitCode.Done;
    }

    private static async Task<int> FetchAsync(RunTarget target, Asked asked, ParseResult parsed, CancellationToken cancellationToken)
    {
        var run = target.Name(parsed);
        var folder = asked.Folder ?? throw new BadInputException("--out: name the folder for adapters of a run on silos.");
        if (asked.RelativeBase)
            throw new BadInputException("--relative-base: the base lies with the silos, so that there is no path to it from here; "
                + "the adapter names it as the plan does.");
        using var silos = target.Silos.Open(parsed);
        var plan = (await silos.PlanAsync(run, cancellationToken)).Require();
        var sites = plan.Clients.ToDictionary(static client => client.Id, static client => client.Site, StringComparer.Ordinal);
        foreach (var other in asked.Clients.Where(id => !sites.ContainsKey(id)))
            throw new BadInputException($"--client: {run} has no client {other}; its clients are {string.Join(", ", sites.Keys)}.");
        var clients = asked.Tasks.Count > 0
            ? asked.Tasks.Distinct(StringComparer.Ordinal)
                .Select(task => (Client: TaskClients.WithTheAdapterOf(plan, run, task), Name: Identifiers.Of(task)))
            : (asked.Clients.Count > 0 ? asked.Clients.Distinct(StringComparer.Ordinal) : sites.Keys)
                .Select(static client => (Client: client, Name: client));
        var download = new AdapterDownload(silos, run, asked.Form);
        var written = await download.WriteAsync(
            folder, [.. clients.Select(one => (one.Client, sites[one.Client], one.Name))], cancellationToken);
        if (written.Clients.Count > 0)
            await SayAsync(written.Clients.Count, written.Round, plan, folder, asked, parsed.InvocationConfiguration.Output);
        foreach (var (site, why) in written.Away)
        {
            var missing = clients.Where(one => sites[one.Client] == site).Select(static one => one.Name);
            await parsed.InvocationConfiguration.Error.WriteLineAsync(
                $"site {site} does not answer, so that nothing was written of {string.Join(", ", missing)}: {why}");
        }

        return written.Away.Count > 0 ? ExitCode.Environment : ExitCode.Done;
    }

    private static async Task SayAsync(int written, int round, FederationPlan plan, string folder, Asked asked, TextWriter output)
    {
        var of = string.Create(CultureInfo.InvariantCulture, $"{round}/{plan.Strategy.Rounds}");
        await output.WriteLineAsync(
            $"{Words.Count(written, "adapter")} of round {of}: {folder}/{(asked.Tasks.Count == 0 ? "CLIENT" : "TASK")}, "
                + $"in {asked.Form.Text}");
        foreach (var name in asked.Tasks.Distinct(StringComparer.Ordinal).Where(static name => Identifiers.Of(name) != name))
            await output.WriteLineAsync($"{name}: {folder}/{Identifiers.Of(name)}");
    }

    /// <param name="Form">The form.</param>
    /// <param name="Clients">The clients; none for all.</param>
    /// <param name="Tasks">The tasks, one adapter each; none for an adapter of each client.</param>
    /// <param name="Folder">Where they go; null for the run's own place.</param>
    /// <param name="RelativeBase">Whether the base is named by its path from there.</param>
    private sealed record Asked(
        ExportForm Form, IReadOnlyList<string> Clients, IReadOnlyList<string> Tasks, string? Folder, bool RelativeBase);
}
