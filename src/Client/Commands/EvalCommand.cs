using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;
using FedRLora.Client.Control;
using FedRLora.Client.Local;
using FedRLora.Client.Rendering;
using FedRLora.ControlPlane.Http;
using FedRLora.ControlPlane.Views;
using FedRLora.Training;

namespace FedRLora.Client.Commands;

/// <summary>
/// <c>fedrlora eval --model FOLDER --data FILE</c> scores rows; <c>fedrlora eval --run runs/NAME-N</c> scores a run's committed state
/// again, beside what its manifest says.
/// </summary>
internal static class EvalCommand
{
    public static Command Create()
    {
        var model = SharedOptions.Model();
        var data = new Option<string?>("--data") { Description = "JSON Lines to score; label candidates are the labels in this file" };
        var adapter = SharedOptions.Adapter();
        var (storage, otherBase) = (SharedOptions.Storage(), SharedOptions.AllowOtherBase());
        var metric = new Option<Metric>("--metric") { Description = "By default accuracy where rows carry labels, else perplexity" };
        metric.AcceptOnlyFromAmong("auto", "accuracy", "macroF1", "matthews", "exactMatch", "perplexity");
        var rows = SharedOptions.Count("--rows", "Rows scored, drawn over the whole file; by default all");
        var tokens = SharedOptions.Count("--max-tokens",
            $"Tokens of prompt and completion, longer rows lose the front of their prompt; by default {new TrainingSpec().MaxTokens}");
        var newTokens = SharedOptions.Count("--max-new-tokens",
            "Bound on the continuation that exactMatch compares; by default what the completion needs");
        var client = new Option<string?>("--client") { Description = "With --run: this client alone" };
        var task = new Option<string?>("--task") { Description = "With --run: the clients of this task alone" };
        var json = SharedOptions.Json();
        var command = new Command("eval", "Score a model, an adapter or a run on rows of data")
        {
            model, data, adapter, storage, otherBase, metric, rows, tokens, newTokens, client, task, json,
        };
        var run = RunTarget.AddAsOptionTo(command, "a model and data");
        command.Validators.Add(result =>
        {
            Option[] ofModel = [model, data, adapter, storage, otherBase, metric, rows, tokens, newTokens];
            var (asksModel, asksRun) = (ofModel.Any(option => result.GetResult(option) is { Implicit: false }),
                new Option[] { run.Option!, client, task }.Any(option => result.GetResult(option) is not null)
                || run.Silos.IsNamed(result));
            var missing = asksRun
                ? result.GetResult(run.Option!) is null
                : result.GetResult(model) is null || result.GetResult(data) is null;
            if (missing || (asksModel && asksRun))
                result.AddError("Give --model and --data (and what goes with them), or --run (and --client or --task, and --server).");
        });
        command.SetAction((parsed, cancellationToken) =>
        {
            var screen = Screen.Of(parsed, parsed.GetValue(json));
            if (run.IsOnSilos(parsed))
                return ScoreOnSilosAsync(run, parsed.GetValue(client), parsed.GetValue(task), parsed, screen, cancellationToken);
            if (parsed.GetValue(run.Option!) is not null)
                return ScoreRunAsync(run.Folder(parsed), parsed.GetValue(client), parsed.GetValue(task), screen, cancellationToken);
            var evaluation = new EvaluationSpec { Metric = parsed.GetValue(metric), MaxRows = parsed.GetValue(rows) };
            if (parsed.GetValue(newTokens) is { } bound) evaluation = evaluation with { MaxNewTokens = bound };
            var options = new BaseOptions { Storage = parsed.GetValue(storage), AllowOtherBase = parsed.GetValue(otherBase) };
            return ScoreAsync(parsed.GetValue(model)!, parsed.GetValue(adapter), options, parsed.GetValue(data)!, evaluation,
                parsed.GetValue(tokens) ?? new TrainingSpec().MaxTokens, screen, cancellationToken);
        });
        return command;
    }

    private static async Task<int> ScoreAsync(
        string model, string? adapter, BaseOptions options, string data, EvaluationSpec evaluation, int maxTokens, Screen screen,
        CancellationToken cancellationToken)
    {
        using var adapted = await AdaptedModel.LoadAsync(model, adapter, options, cancellationToken);
        screen.Warn(adapted.Notes);
        var score = await adapted.ScoreAsync(data, evaluation, maxTokens, screen.Note, cancellationToken);
        if (screen.Mode == ScreenMode.Json)
        {
            await screen.Output.WriteLineAsync(JsonSerializer.Serialize(new
            {
                Json.Schema, model, Storage = options.Storage.Word(), adapter, data, score.Metric, Value = score.Score, score.Loss,
                score.StandardError, score.Rows, score.MajorityShare,
                score.Notes,
            }, Json.Lines));
            return ExitCode.Done;
        }

        await screen.Output.WriteAsync(PlainTable.Of(["metric", "value", "s.e.", "loss/token", "rows", "majority"],
            [[score.Metric, Words.Score(score.Score), Words.Score(score.StandardError), Words.Loss(score.Loss), Number(score.Rows),
                Words.Score(score.MajorityShare)]],
            screen.Width));
        foreach (var note in score.Notes) await screen.Error.WriteLineAsync($"note: {note.Text}");
        return ExitCode.Done;
    }

    private static async Task<int> ScoreRunAsync(
        RunDirectory run, string? only, string? task, Screen screen, CancellationToken cancellationToken)
    {
        var committed = await CommittedRun.OpenAsync(run, cancellationToken);
        var ofTask = task is null ? null : committed.ClientsOf(task);
        var asked = committed.Manifest.Clients.Where(client => only is null || client.Id == only)
            .Where(client => ofTask is null || ofTask.Contains(client.Id)).ToList();
        if (asked.Count == 0 && ofTask is not null)
            throw new BadInputException($"--client: {only} is no client of task {task}; they are {string.Join(", ", ofTask)}.");
        if (asked.Count == 0)
            throw new BadInputException($"--client: {run.Path} has no client {only}; "
                + $"its clients are {string.Join(", ", committed.Manifest.Clients.Select(static client => client.Id))}.");

        foreach (var change in await committed.InputChangesAsync(cancellationToken))
            await screen.Error.WriteLineAsync($"{run.Path}: {change}");
        using var trainer = new LocalTrainer(
            new LocalTrainerOptions { Root = run.Record.Root, Note = note => screen.Warn([note]), Forecast = screen.Note });
        var scores = new List<ClientEvaluation>();
        foreach (var client in asked)
        {
            var group = new TrainingGroup
            {
                Plan = committed.Plan, Round = committed.Manifest.Round, Shared = committed.Shared,
                Members = [await committed.MemberAsync(client, cancellationToken)],
            };
            var score = (await trainer.EvaluateAsync(group, cancellationToken))[0];
            if (score.Failure is { } failure) throw new BadInputException($"{client.Id}: {failure}");
            var spec = committed.Client(client.Id);
            scores.Add(new(client.Id, spec.Site, spec.Task, ScoreOf(score), client.Score, Failure: null, Changes: []));
        }

        return await EndAsync(new(1, run.Path, committed.Manifest.Round, scores), screen);
    }

    private static async Task<int> ScoreOnSilosAsync(
        RunTarget target, string? only, string? task, ParseResult parsed, Screen screen, CancellationToken cancellationToken)
    {
        var run = target.Name(parsed);
        using var silos = target.Silos.Open(parsed);
        var plan = (await silos.PlanAsync(run, cancellationToken)).Require();
        var ofTask = task is null ? null : TaskClients.Of(plan, run, task);
        if (only is not null && ofTask?.Contains(only) == false)
            throw new BadInputException($"--client: {only} is no client of task {task}; they are {string.Join(", ", ofTask)}.");
        if (only is not null && plan.Clients.All(client => client.Id != only))
            throw new BadInputException($"--client: {run} has no client {only}; "
                + $"its clients are {string.Join(", ", plan.Clients.Select(static client => client.Id))}.");
        var body = new EvaluateBody(only is null ? null : [only], task);
        return await EndAsync(await silos.PostAsync<RunEvaluation>(
            $"{ControlClient.Run(run)}/evaluate", body, silos.Patience.Work, cancellationToken), screen);
    }

    private static ClientScore? ScoreOf(EvaluationResult result) => result.Rows == 0 ? null : new()
    {
        Metric = result.Metric, Value = result.Score, Loss = result.Loss, Rows = result.Rows, MajorityShare = result.MajorityShare,
        Notes = result.Notes,
    };

    private static async Task<int> EndAsync(RunEvaluation scored, Screen screen)
    {
        foreach (var change in scored.Clients.SelectMany(static one => one.Changes).Distinct(StringComparer.Ordinal))
            await screen.Error.WriteLineAsync($"{scored.Run}: {change}");
        Show(scored, screen);
        foreach (var client in scored.Clients)
            foreach (var note in client.Score?.Notes ?? []) await screen.Error.WriteLineAsync($"note: {client.Client}: {note.Text}");
        var differing = scored.Clients.Where(static client => client.Equal == false).Select(static client => client.Client).ToList();
        var failed = scored.Clients.Where(static client => client.Failure is not null).ToList();
        foreach (var client in failed)
            await screen.Error.WriteLineAsync($"{client.Client} (site {client.Site}): not scored: {ControlErrors.Line(client.Failure!)}");
        if (differing.Count == 0) return failed.Count > 0 ? ExitCode.Environment : ExitCode.Done;
        await screen.Error.WriteLineAsync($"{scored.Run}: not what the manifest of round {Number(scored.Round)} says: "
            + $"{string.Join(", ", differing)}; base, data or engine (kernels, library, processor, threads) is another.");
        return ExitCode.Failed;
    }

    private static void Show(RunEvaluation scored, Screen screen)
    {
        if (screen.Mode == ScreenMode.Json)
        {
            foreach (var one in scored.Clients)
                screen.Output.WriteLine(JsonSerializer.Serialize(new
                {
                    Json.Schema, scored.Round, one.Client, one.Task, Metric = one.Score?.Metric ?? "", one.Score?.Value, one.Score?.Loss,
                    Rows = one.Score?.Rows ?? 0, one.Score?.MajorityShare, ManifestValue = one.Recorded?.Value,
                    ManifestLoss = one.Recorded?.Loss, one.Equal,
                }, Json.Lines));
            return;
        }

        screen.Output.WriteLine($"round {Number(scored.Round)}");
        screen.Output.Write(PlainTable.Of(
            ["client", "task", "metric", "value", "recorded", "loss/token", "recorded", "rows", "majority", "equal"],
            [.. scored.Clients.Select(static one => new[]
            {
                one.Client, one.Task, one.Score?.Metric ?? Words.None,
                Words.Score(one.Score?.Value), Words.Score(one.Recorded?.Value),
                Words.Loss(one.Score?.Loss), Words.Loss(one.Recorded?.Loss), Number(one.Score?.Rows ?? 0),
                Words.Score(one.Score?.MajorityShare), one.Equal switch { true => "yes", false => "no", null => Words.None },
            })], screen.Width));
    }

    private static string Number(int value) => value.ToString(CultureInfo.InvariantCulture);
}
