using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;
using FedRLora.Client.Local;
using FedRLora.Client.Rendering;
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
        var run = new Option<string?>("--run") { Description = "Instead of a model and data: a folder that fedrlora simulate made" };
        var client = new Option<string?>("--client") { Description = "With --run: this client alone" };
        var task = new Option<string?>("--task") { Description = "With --run: the clients of this task alone" };
        var json = SharedOptions.Json();
        var command = new Command("eval", "Score a model, an adapter or a run on rows of data")
        {
            model, data, adapter, storage, otherBase, metric, rows, tokens, newTokens, run, client, task, json,
        };
        command.Validators.Add(result =>
        {
            Option[] ofModel = [model, data, adapter, storage, otherBase, metric, rows, tokens, newTokens];
            var (asksModel, asksRun) = (ofModel.Any(option => result.GetResult(option) is { Implicit: false }),
                new Option[] { run, client, task }.Any(option => result.GetResult(option) is not null));
            var missing = asksRun ? result.GetResult(run) is null : result.GetResult(model) is null || result.GetResult(data) is null;
            if (missing || (asksModel && asksRun))
                result.AddError("Give --model and --data (and what goes with them), or --run (and --client or --task).");
        });
        command.SetAction((parsed, cancellationToken) =>
        {
            var screen = Screen.Of(parsed, parsed.GetValue(json));
            if (parsed.GetValue(run) is { } folder)
                return ScoreRunAsync(
                    RunDirectory.Open(folder), parsed.GetValue(client), parsed.GetValue(task), screen, cancellationToken);
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
                model, Storage = options.Storage.Word(), adapter, data, score.Metric, Value = score.Score, score.Loss, score.StandardError,
                score.Rows, score.MajorityShare,
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
        var scores = new List<RunScore>();
        foreach (var client in asked)
        {
            var group = new TrainingGroup
            {
                Plan = committed.Plan, Round = committed.Manifest.Round, Shared = committed.Shared,
                Members = [await committed.MemberAsync(client, cancellationToken)],
            };
            var score = (await trainer.EvaluateAsync(group, cancellationToken))[0];
            if (score.Failure is { } failure) throw new BadInputException($"{client.Id}: {failure}");
            scores.Add(new RunScore(committed.Client(client.Id).Task, score, client.Score));
        }

        Show(committed.Manifest.Round, scores, screen);
        foreach (var score in scores)
            foreach (var note in score.Now.Notes) await screen.Error.WriteLineAsync($"note: {score.Now.ClientId}: {note.Text}");
        var differing = scores.Where(static score => score.Equal == false).Select(static score => score.Now.ClientId).ToList();
        if (differing.Count == 0) return ExitCode.Done;
        await screen.Error.WriteLineAsync($"{run.Path}: not what the manifest of round {Number(committed.Manifest.Round)} says: "
            + $"{string.Join(", ", differing)}; base, data or engine (kernels, library, processor, threads) is another.");
        return ExitCode.Failed;
    }

    /// <param name="Task">The client's task.</param>
    /// <param name="Now">The score as of now; without rows where the client has no test rows.</param>
    /// <param name="Manifest">The score in the manifest; null in a round that was not scored.</param>
    private sealed record RunScore(string Task, EvaluationResult Now, ClientScore? Manifest)
    {
        /// <summary>Bit for bit; null where there is nothing to compare.</summary>
        public bool? Equal => Manifest is null || Now.Rows == 0
            ? null
            : (Now.Metric, Now.Score, Now.Loss, Now.Rows) == (Manifest.Metric, Manifest.Value, Manifest.Loss, Manifest.Rows);
    }

    private static void Show(int round, List<RunScore> scores, Screen screen)
    {
        if (screen.Mode == ScreenMode.Json)
        {
            foreach (var (task, now, manifest) in scores)
                screen.Output.WriteLine(JsonSerializer.Serialize(new
                {
                    round, Client = now.ClientId, task, now.Metric, Value = now.Rows == 0 ? (double?)null : now.Score,
                    Loss = now.Rows == 0 ? (double?)null : now.Loss, now.Rows, now.MajorityShare, ManifestValue = manifest?.Value,
                    ManifestLoss = manifest?.Loss,
                }, Json.Lines));
            return;
        }

        screen.Output.WriteLine($"round {Number(round)}");
        screen.Output.Write(PlainTable.Of(
            ["client", "task", "metric", "value", "recorded", "loss/token", "recorded", "rows", "majority", "equal"],
            [.. scores.Select(static score => new[]
            {
                score.Now.ClientId, score.Task, score.Now.Rows == 0 ? Words.None : score.Now.Metric,
                Words.Score(score.Now.Rows == 0 ? null : score.Now.Score), Words.Score(score.Manifest?.Value),
                Words.Loss(score.Now.Rows == 0 ? null : score.Now.Loss), Words.Loss(score.Manifest?.Loss), Number(score.Now.Rows),
                Words.Score(score.Now.MajorityShare), score.Equal switch { true => "yes", false => "no", null => Words.None },
            })], screen.Width));
    }

    private static string Number(int value) => value.ToString(CultureInfo.InvariantCulture);
}
