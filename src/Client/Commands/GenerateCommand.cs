using System.CommandLine;
using FedRLora.Client.Rendering;
using FedRLora.Training;
using FedRLora.Training.Models;

namespace FedRLora.Client.Commands;

/// <summary><c>fedrlora generate --model FOLDER --prompt TEXT</c>: the most likely continuation, or one that is drawn.</summary>
internal static class GenerateCommand
{
    private const int DefaultNewTokens = 64;

    public static Command Create()
    {
        var model = SharedOptions.Model();
        model.Required = true;
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
        var command = new Command("generate", "Continue a prompt, up to the model's end token")
        {
            model, adapter, storage, otherBase, prompt, chat, bound, temperature, topP, seed, stop,
        };
        command.Validators.Add(result =>
        {
            if (result.GetResult(temperature) is null && (result.GetResult(topP) is not null || result.GetResult(seed) is not null))
                result.AddError("--top-p and --seed: nothing is drawn without --temperature");
            if (result.GetValue(stop)?.Contains("") == true) result.AddError("--stop: a text of at least one character is needed");
        });
        command.SetAction(async (parsed, cancellationToken) =>
        {
            var screen = Screen.Of(parsed, json: false);
            var sampling = new SamplingOptions
            {
                Temperature = parsed.GetValue(temperature) ?? 0,
                TopP = parsed.GetValue(topP) ?? 1,
                Seed = parsed.GetValue(seed) ?? 0,
                MaxNewTokens = parsed.GetValue(bound) ?? DefaultNewTokens,
                StopTexts = parsed.GetValue(stop) ?? [],
            };
            var options = new BaseOptions { Storage = parsed.GetValue(storage), AllowOtherBase = parsed.GetValue(otherBase) };
            using var adapted = await AdaptedModel.LoadAsync(
                parsed.GetRequiredValue(model)!, parsed.GetValue(adapter), options, cancellationToken);
            screen.Warn(adapted.Notes);
            var text = new StringWriter();
            Func<string, SamplingOptions, Action<string>, CancellationToken, Task> goOn = parsed.GetValue(chat)
                ? adapted.AnswerAsync : adapted.ContinueAsync;
            await goOn(parsed.GetRequiredValue(prompt), sampling, screen.Mode == ScreenMode.Terminal ? Show : text.Write,
                cancellationToken);
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
}
