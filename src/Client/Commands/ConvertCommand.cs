using System.CommandLine;
using FedRLora.Abstractions;
using FedRLora.Client.Rendering;
using FedRLora.ControlPlane.Views;
using FedRLora.Training.Conversion;
using FedRLora.Training.Inputs;

namespace FedRLora.Client.Commands;

/// <summary>
/// <c>fedrlora convert SOURCE TARGET</c>: a GGUF file as a model folder, a folder as a GGUF file, an adapter as a GGUF adapter.
/// </summary>
internal static class ConvertCommand
{
    public static Command Create()
    {
        var source = new Argument<string>("source")
        {
            Description = "A GGUF file, which becomes a folder; a Hugging Face model folder, which becomes a file; "
                + "or with --model an adapter folder",
        };
        var target = new Argument<string>("target") { Description = "The new folder, or the new GGUF file; must not exist" };
        var type = new Option<string>("--type")
        {
            Description = "How the weights are stored; q8_0 in a GGUF file alone, where vectors are f32 always",
            DefaultValueFactory = static _ => "f32",
        };
        type.AcceptOnlyFromAmong([.. WeightTypes.ByName.Keys]);
        var model = SharedOptions.Model();
        model.Description = "The base of an adapter folder: a folder or a GGUF file";
        var otherBase = SharedOptions.AllowOtherBase();
        otherBase.Description = "Write an adapter although it was trained on another base; that is said";
        var command = new Command("convert", "Write a GGUF file as a model folder, or a folder or an adapter as a GGUF file")
        {
            source, target, type, model, otherBase,
        };
        command.SetAction(async (parsed, cancellationToken) =>
        {
            var (from, to) = (parsed.GetRequiredValue(source), parsed.GetRequiredValue(target));
            var (wanted, basis) = (WeightTypes.ByName[parsed.GetRequiredValue(type)], parsed.GetValue(model));
            var allowed = parsed.GetValue(otherBase);
            var report = await Task.Run(() => Convert(from, to, wanted, basis, allowed, cancellationToken), cancellationToken);
            var screen = Screen.Of(parsed, json: false);
            screen.Warn(report.Notes);
            var before = report.Before.Count == 0 ? "" : $" ({Counts(report.Before)})";
            await screen.Output.WriteLineAsync($"{to}: written from {from}{before}, {Counts(report.Types)}");
            return ExitCode.Done;
        });
        return command;
    }

    private static string Counts(IReadOnlyList<(string Type, int Tensors)> types) =>
        string.Join(", ", types.Select(static entry => $"{Words.Count(entry.Tensors, "tensor")} {entry.Type}"));

    private static ConversionReport Convert(
        string source, string target, WeightType type, string? model, bool allowOtherBase, CancellationToken cancellationToken)
    {
        if (model is not null) return AdapterToGguf.Write(source, model, target, type, allowOtherBase, cancellationToken);
        if (GivenPath.IsAdapter(source))
            throw new BadInputException($"{source}: is an adapter; give the model that it is on with --model");
        return File.Exists(source)
            ? GgufToFolder.Write(source, target, type, cancellationToken)
            : FolderToGguf.Write(source, target, type, cancellationToken);
    }
}
