using System.CommandLine;
using System.Globalization;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Ports;
using FedRLora.Client.Local;
using FedRLora.Client.Rendering;
using FedRLora.ControlPlane.Views;
using FedRLora.Training.Adapters.Combination;

namespace FedRLora.Client.Commands;

/// <summary><c>fedrlora combine --adapter A=0.5 --adapter B=0.5 --out FOLDER</c>: several adapters as one.</summary>
internal static class CombineCommand
{
    public static Command Create()
    {
        var adapters = new Option<string[]>("--adapter")
        {
            Description = "An adapter folder in PEFT's layout with its weight, as FOLDER=0.5; without one the weight is 1. Repeat it",
            Required = true,
        };
        var method = new Option<string>("--method")
        {
            Description = $"One of {string.Join(", ", AdapterCombination.Methods)}",
            DefaultValueFactory = static _ => "linear",
        };
        var density = SharedOptions.Number("--density",
            "Share of elements that ties, magnitude_prune and dare keep; by default 0.5", 0.0, 1.0);
        var rank = SharedOptions.Count("--rank", "Rank of the result of a method that ends in svd; by default the largest of the adapters");
        var seed = SharedOptions.Number<ulong>("--seed", "Seeds the masks of dare; by default 0", 0, ulong.MaxValue);
        var target = new Option<string>("--out") { Description = "The new adapter folder; must not exist", Required = true };
        var command = new Command("combine", "Combine adapters into one, as PEFT's add_weighted_adapter does")
        {
            adapters, method, density, rank, seed, target,
        };
        command.SetAction(async (parsed, cancellationToken) =>
        {
            var folder = parsed.GetRequiredValue(target);
            if (Directory.Exists(folder) || File.Exists(folder))
                throw new BadInputException($"{folder}: exists already; give the name of a new folder");
            if (parsed.GetValue(density) is not null && !AdapterCombination.TakesDensity(parsed.GetRequiredValue(method)))
                throw new BadInputException($"--density: {parsed.GetRequiredValue(method)} keeps every element; leave it out");
            if (parsed.GetValue(seed) is not null && !parsed.GetRequiredValue(method).StartsWith("dare", StringComparison.Ordinal))
                throw new BadInputException($"--seed: {parsed.GetRequiredValue(method)} draws nothing; leave it out");
            var parts = parsed.GetRequiredValue(adapters).Select(Weighed).ToList();
            var options = new CombinationOptions
            {
                Method = parsed.GetRequiredValue(method), Density = parsed.GetValue(density) ?? 0.5, Rank = parsed.GetValue(rank),
                Seed = parsed.GetValue(seed) ?? 0,
            };
            var (combined, notes) = await Task.Run(() => AdapterCombination.Combine(parts, options), cancellationToken);
            AdapterFolder.Write(folder, combined);
            var screen = Screen.Of(parsed, json: false);
            screen.Warn(notes);
            await screen.Output.WriteLineAsync($"{folder}: {Words.Count(parts.Count, "adapter")} combined by {options.Method}");
            return ExitCode.Done;
        });
        return command;
    }

    // A folder's name may hold an equals sign itself.
    private static (string Folder, double Weight) Weighed(string text)
    {
        var at = text.LastIndexOf('=');
        if (at < 0 || Directory.Exists(text)) return (text, 1);
        if (string.IsNullOrWhiteSpace(text[..at])) throw new BadInputException($"--adapter: '{text}' names no folder; write FOLDER=0.5");
        return double.TryParse(text[(at + 1)..], NumberStyles.Float, CultureInfo.InvariantCulture, out var weight)
            ? (text[..at], weight)
            : throw new BadInputException($"--adapter: '{text[(at + 1)..]}' in {text} is not a number; write FOLDER=0.5");
    }
}
