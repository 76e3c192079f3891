using System.CommandLine;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Ports;
using FedRLora.Client.Control;
using FedRLora.Client.Local;
using FedRLora.Client.Rendering;
using FedRLora.ControlPlane.Http;
using FedRLora.ControlPlane.Views;
using FedRLora.Training;
using FedRLora.Training.Models;

namespace FedRLora.Client.Commands;

/// <summary>
/// <c>fedrlora generate --model FOLDER --prompt TEXT</c>: the most likely continuation, or one that is drawn; <c>--run runs/NAME-N
/// --client C</c> asks a client's committed state, whatever the method.
/// </summary>
internal static class GenerateCommand
{
    private const int DefaultNewTokens = 64;

    public static Command Create()
    {
        var model = SharedOptions.Model();
        var adapter = SharedOptions.Adapter();
        var (storage, otherBase) = (SharedOptions.Storage(), SharedOptions.AllowOtherBase());
        var prompt = new Option<string>("--prompt") { Description = "The text to go on from", Required = true };
        var bound = SharedOptions.Count("--max-new-tokens", $"Bound on the continuation; by default {DefaultNewTokens}");
        var temperature = SharedOptions.Number("--temperature",
            "Draw tokens, the more freely the higher; by default 0: always the most likely", 0.0, 100.0);
        var topP = SharedOptions.Number("--top-p",
            "Draw from the most likely tokens that together have this probability; by default 1: from all", 1e-6, 1.0);
        var seed = SharedOptions.Number("--seed", "Seed of the draws; by default 0", 0UL, ulong.MaxValue);
        var stop = new Option<string[]>("--stop")
        {
            Description = "A text that ends the continuation and is not part of it; may be repeated",
        };
        var chat = new Option<bool>("--chat") { Description = "The prompt is a message to answer through the model's chat template" };
        var client = new Option<string?>("--client")
        {
            Description = "With --run: the client whose committed adapter goes on; not needed where there is one",
        };
        var command = new Command("generate", "Continue a prompt, up to the model's end token")
        {
            model, adapter, storage, otherBase, client, prompt, chat, bound, temperature, topP, seed, stop,
        };
        var run = RunTarget.AddAsOptionTo(command, "a model");
        command.Validators.Add(result =>
        {
            var asksModel = new Option[] { model, adapter, storage, otherBase }
                .Any(option => result.GetResult(option) is { Implicit: false });
            var asksRun = new Option[] { run.Option!, client }.Any(option => result.GetResult(option) is not null)
                || run.Silos.IsNamed(result);
            if ((asksModel && asksRun) || result.GetResult(asksRun ? run.Option! : model) is null)
                result.AddError("Give --model (and what goes with it), or --run and --client (and --server).");
            if (result.GetResult(temperature) is null && (result.GetResult(topP) is not null || result.GetResult(seed) is not null))
                result.AddError("--top-p and --seed: nothing is drawn without --temperature");
            if (result.GetValue(stop)?.Contains("") == true) result.AddError("--stop: a text of at least one character is needed");
        });
        command.SetAction(async (parsed, cancellationToken) =>
        {
            var screen = Screen.Of(parsed, json: false);
            var asked = new Prompt
            {
                Text = parsed.GetRequiredValue(prompt),
                IsChat = parsed.GetValue(chat),
                Temperature = parsed.GetValue(temperature) ?? 0,
                TopP = parsed.GetValue(topP) ?? 1,
                Seed = parsed.GetValue(seed) ?? 0,
                MaxNewTokens = parsed.GetValue(bound) ?? DefaultNewTokens,
                StopTexts = parsed.GetValue(stop) ?? [],
            };
            var text = new StringWriter();
            Action<string> write = screen.Mode == ScreenMode.Terminal ? Show : text.Write;
            if (run.IsOnSilos(parsed)) await AskSilosAsync(run, parsed.GetValue(client), asked, parsed, write, cancellationToken);
            else if (parsed.GetValue(run.Option!) is not null)
                await AskRunAsync(run.Folder(parsed), parsed.GetValue(client), asked, screen, write, cancellationToken);
            else
            {
                var options = new BaseOptions { Storage = parsed.GetValue(storage), AllowOtherBase = parsed.GetValue(otherBase) };
                using var adapted = await AdaptedModel.LoadAsync(
                    parsed.GetRequiredValue(model)!, parsed.GetValue(adapter), options, cancellationToken);
                screen.Warn(adapted.Notes);
                await AskModelAsync(adapted, asked, write, cancellationToken);
            }

            await screen.Output.WriteLineAsync(text.ToString());
            return ExitCode.Done;

            void Show(string piece)
            {
                screen.Output.Write(piece);
                screen.Output.Flush();
            }
        });
        return command;
    }

    private static Task AskModelAsync(AdaptedModel model, Prompt prompt, Action<string> write, CancellationToken cancellationToken)
    {
        var sampling = new SamplingOptions
        {
            Temperature = prompt.Temperature, TopP = prompt.TopP, Seed = prompt.Seed, MaxNewTokens = prompt.MaxNewTokens,
            StopTexts = prompt.StopTexts,
        };
        return prompt.IsChat
            ? model.AnswerAsync(prompt.Text, sampling, write, cancellationToken)
            : model.ContinueAsync(prompt.Text, sampling, write, cancellationToken);
    }

    private static async Task AskRunAsync(
        RunDirectory run, string? client, Prompt prompt, Screen screen, Action<string> write, CancellationToken cancellationToken)
    {
        var committed = await CommittedRun.OpenAsync(run, cancellationToken);
        var clients = committed.Manifest.Clients;
        var known = string.Join(", ", clients.Select(static client => client.Id));
        if (client is null && clients.Count > 1) throw new BadInputException($"--client: {run.Path} has {known}; give one of them.");
        var member = client is null ? clients[0] : clients.FirstOrDefault(one => one.Id == client)
            ?? throw new BadInputException($"--client: {run.Path} has no client {client}; its clients are {known}.");
        foreach (var change in await committed.InputChangesAsync(cancellationToken))
            await screen.Error.WriteLineAsync($"{run.Path}: {change}");
        using var trainer = new LocalTrainer(
            new LocalTrainerOptions { Root = run.Record.Root, Note = note => screen.Warn([note]), Forecast = screen.Note });
        var group = new TrainingGroup
        {
            Plan = committed.Plan, Round = committed.Manifest.Round, Shared = committed.Shared,
            Members = [await committed.MemberAsync(member, cancellationToken)],
        };
        await foreach (var piece in trainer.PromptAsync(group, prompt, cancellationToken)) write(piece);
    }
    private static async Task AskSilosAsync(
        RunTarget target, string? client, Prompt prompt, ParseResult parsed, Action<string> write, CancellationToken cancellationToken)
    {
        var run = target.Name(parsed);
        using var silos = target.Silos.Open(parsed);
        var clients = (await silos.PlanAsync(run, cancellationToken)).Require().Clients.Select(static client => client.Id).ToList();
        var known = string.Join(", ", clients);
        if (client is null && clients.Count > 1) throw new BadInputException($"--client: {run} has {known}; give one of them.");
        if (client is not null && !clients.Contains(client))
            throw new BadInputException($"--client: {run} has no client {client}; its clients are {known}.");
        var body = new GenerateBody(
            prompt.Text, prompt.IsChat, prompt.MaxNewTokens, prompt.Temperature, prompt.TopP, prompt.Seed, prompt.StopTexts);
        var events = silos.EventsAsync($"{ControlClient.Client(run, client ?? clients[0])}/generate", body, cancellationToken);
        await foreach (var one in events)
        {
            if (one.EventType == "end") return;
            if (one.EventType == "piece") write(ControlClient.Read<Piece>(one.Data).Text);
        }

        throw new NoAnswerException("the text was cut: the connection was lost before its end");
    }
}
