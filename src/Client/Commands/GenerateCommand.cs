using System.CommandLine;
using FedRLora.Client.Rendering;
using FedRLora.Training;

namespace FedRLora.Client.Commands;

/// <summary><c>fedrlora generate --model FOLDER --prompt TEXT</c>: the most likely continuation.</summary>
internal static class GenerateCommand
{
    private const int DefaultNewTokens = 64;

    public static Command Create()
    {
        var model = SharedOptions.Model();
        model.Required = true;
        var adapter = SharedOptions.Adapter();
        var prompt = new Option<string>("--prompt") { Description = "The text to go on from", Required = true };
        var bound = SharedOptions.Count("--max-new-tokens", $"Bound on the continuation; by default {DefaultNewTokens}");
        var command = new Command("generate", "Continue a prompt greedily, up to the model's end token") { model, adapter, prompt, bound };
        command.SetAction(async (parsed, cancellationToken) =>
        {
            var screen = Screen.Of(parsed, json: false);
            using var adapted = await AdaptedModel.LoadAsync(parsed.GetRequiredValue(model)!, parsed.GetValue(adapter), cancellationToken);
            var text = new StringWriter();
            await adapted.ContinueAsync(
                parsed.GetRequiredValue(prompt), parsed.GetValue(bound) ?? DefaultNewTokens, screen.Mode == ScreenMode.Terminal ? Show : text.Write, cancellationToken);
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
