using System.CommandLine;
using FedRLora.Abstractions;
using FedRLora.Client.Local;

namespace FedRLora.Client.Control;

/// <summary>A run that a command takes either way: a run folder by its path, or with <c>--server</c> a run of silos by its name.</summary>
internal sealed class RunTarget
{
    private readonly Argument<string?>? _argument;
    private readonly Option<string?>? _option;

    private RunTarget(Command command, Argument<string?>? argument, Option<string?>? option)
    {
        (_argument, _option) = (argument, option);
        if (argument is not null) command.Add(argument);
        if (option is not null) command.Add(option);
        Silos = ControlTarget.AddTo(command);
    }

    /// <summary>The silos.</summary>
    public ControlTarget Silos { get; }

    /// <summary>What the run is called in descriptions of options.</summary>
    public const string Description = "A folder that fedrlora simulate made; with --server, the name of a run on running silos";

    /// <summary>Adds the run as the command's argument, with the options that name silos.</summary>
    public static RunTarget AddTo(Command command) => new(command, new("run") { Description = Description }, option: null);

    /// <summary>Adds the run as an option, beside what else the command may take.</summary>
    public static RunTarget AddAsOptionTo(Command command, string insteadOf) => new(
        command, argument: null, new("--run") { Description = $"Instead of {insteadOf}: {char.ToLowerInvariant(Description[0])}{Description[1..]}" });

    /// <summary>The option; null where the run is an argument.</summary>
    public Option<string?>? Option => _option;

    /// <summary>Whether the run is one of silos.</summary>
    public bool IsOnSilos(ParseResult parsed) => Silos.IsNamed(parsed);

    /// <summary>What was given.</summary>
    public string Given(ParseResult parsed) =>
        (_argument is null ? parsed.GetValue(_option!) : parsed.GetValue(_argument)) ?? throw new InvalidOperationException("no run");

    /// <summary>The name of a run on silos.</summary>
    /// <exception cref="BadInputException">It is none.</exception>
    public string Name(ParseResult parsed)
    {
        var given = Given(parsed);
        return Identifiers.IsValid(given) || !Directory.Exists(given)
            ? Identifiers.Check("run", given)
            : throw new BadInputException($"{given}: is a folder; with --server a run is given by its name, and a run folder without --server");
    }

    /// <summary>The run folder.</summary>
    /// <exception cref="BadInputException">There is none.</exception>
    public RunDirectory Folder(ParseResult parsed) => RunDirectory.Open(PathOf(parsed));

    /// <summary>The run folder, for this process alone.</summary>
    /// <exception cref="BadInputException">There is none, or another process runs in it.</exception>
    public RunDirectory FolderToRun(ParseResult parsed) => RunDirectory.OpenToRun(PathOf(parsed));

    private string PathOf(ParseResult parsed)
    {
        var given = Given(parsed);
        if (!Identifiers.IsValid(given) || Path.Exists(given)) return given;
        var name = parsed.CommandResult.Command.Name;
        var words = _option is null ? new[] { name, given } : [name, "--run", given];
        throw new BadInputException($"{given}: there is no such run folder here; give its path, or, for a run of silos by its name, say "
            + $"where one answers: {Silos.LineNamingSilos(parsed, words)}");
    }
}
