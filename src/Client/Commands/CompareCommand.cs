using System.CommandLine;
using FedRLora.Abstractions;
using FedRLora.Client.Control;
using FedRLora.Client.Local;
using FedRLora.Client.Rendering;
using FedRLora.ControlPlane.Views;

namespace FedRLora.Client.Commands;

/// <summary><c>fedrlora compare runs/NAME-1 runs/NAME-2</c>: outcomes side by side, with differences to the first.</summary>
internal static class CompareCommand
{
    public static Command Create()
    {
        var runs = new Argument<string[]>("run")
        {
            Description = "Folders that fedrlora simulate made; with --server, names of runs on running silos",
            Arity = ArgumentArity.ZeroOrMore,
        };
        var json = SharedOptions.Json();
        var command = new Command("compare", "Put outcomes of runs side by side, with differences to the first of them") { runs, json };
        var target = ControlTarget.AddTo(command);
        command.SetAction(async (parsed, cancellationToken) =>
        {
            var given = parsed.GetValue(runs) ?? [];
            if (given.Length is < 2 or > Comparison.Most) throw new BadInputException($"compare: name from 2 to {Comparison.Most} runs");
            var screen = Screen.Of(parsed, parsed.GetValue(json));
            var compared = target.IsMeant(parsed)
                ? await OnSilosAsync(target, parsed, given, cancellationToken)
                : await OfFoldersAsync(target, parsed, given, cancellationToken);
            await screen.Output.WriteAsync(
                screen.Mode == ScreenMode.Json ? Json.Line(compared) + "\n" : ComparisonText.Of(compared, screen.Width));
            return ExitCode.Done;
        });
        return command;
    }

    private static Task<Comparison> OfFoldersAsync(
        ControlTarget target, ParseResult parsed, string[] given, CancellationToken cancellationToken)
    {
        if (given.Where(static one => !Path.Exists(one) && Identifiers.IsValid(one)).ToList() is { Count: > 0 } names
            && names.Count < given.Length)
        {
            throw new BadInputException($"{names[0]}: there is no such run folder here, and runs of silos are compared with each other "
                + "alone; give folders, or with --server names");
        }

        Once(given.Select(Path.GetFullPath), given);
        string[] folders = [.. given.Select(one => RunTarget.PathOf(one, target, parsed))];
        return FolderComparison.OfAsync(folders, folders, cancellationToken);
    }

    private static async Task<Comparison> OnSilosAsync(
        ControlTarget target, ParseResult parsed, string[] given, CancellationToken cancellationToken)
    {
        string[] names = [.. given.Select(RunTarget.NameOf)];
        Once(names, given);
        using var silos = target.Open(parsed);
        return await silos.CompareAsync(names, cancellationToken);
    }

    private static void Once(IEnumerable<string> runs, string[] given)
    {
        var twice = runs.Select(static (run, index) => (run, index)).GroupBy(static one => one.run, StringComparer.Ordinal)
            .FirstOrDefault(static same => same.Count() > 1);
        if (twice is not null) throw new BadInputException($"{given[twice.First().index]}: is named {twice.Count()} times; name it once");
    }
}
