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
        command, argument: null,
        new("--run") { Description = $"Instead of {insteadOf}: {char.ToLowerInvariant(Description[0])}{Description[1..]}" });

    /// <summary>The option; null where the run is an argument.</summary>
    public Option<string?>? Option => _option;

    /// <summary>Whether the run is one of silos.</summary>
    public bool IsOnSilos(ParseResult parsed) => Silos.IsNamed(parsed);

    /// <summary>What was given.</summary>
    public string Given(ParseResult parsed) =>
        (_argument is null ? parsed.GetValue(_option!) : parsed.GetValue(_argument)) ?? throw new InvalidOperationException("no run");

    /// <summary>The name of a run on silos.</summary>
    /// <exception cref="BadInputException">It is none.</exception>
    public string Name(ParseResult parsed) => NameOf(Given(parsed));

    /// <inheritdoc cref="Name"/>
    public static string NameOf(string given)
    {
        return Identifiers.IsValid(given) || !Directory.Exists(given)
            ? Identifiers.Check("run", given)
            : throw new BadInputException(
                $"{given}: is a folder; with --server a run is given by its name, and a run folder without --server");
    }

    /// <summary>The run folder.</summary>
    /// <exception cref="BadInputException">There is none.</exception>
    public RunDirectory Folder(ParseResult parsed) => RunDirectory.Open(PathOf(parsed));

    /// <summary>The run folder, for this process alone.</summary>
    /// <exception cref="BadInputException">There is none, or another process runs in it.</exception>
    public RunDirectory FolderToRun(ParseResult parsed) => RunDirectory.OpenToRun(PathOf(parsed));

    /// <summary>The path of a run folder, as it was given; what may be a name and is no path is answered with both ways.</summary>
    /// <param name="given">What was given.</param>
    /// <param name="silos">The silos that the command could be asked of.</param>
    /// <param name="parsed">The command line.</param>
    /// <param name="option">The option that it was given with; null where it is an argument.</param>
    /// <exception cref="BadInputException">There is nothing of that name here.</exception>
    public static string PathOf(string given, ControlTarget silos, ParseResult parsed, string? option = null)
    {
        if (!Identifiers.IsValid(given) || Path.Exists(given)) return given;
        var name = parsed.CommandResult.Command.Name;
        var words = option is null ? new[] { name, given } : [name, option, given];
        throw new BadInputException($"{given}: there is no such run folder here; give its path, or, for a run of silos by its name, say "
            + $"where one answers: {silos.LineNamingSilos(parsed, words)}");
    }

    private string PathOf(ParseResult parsed) => PathOf(Given(parsed), Silos, parsed, _option?.Name);
}
