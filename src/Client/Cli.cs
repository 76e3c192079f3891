using System.CommandLine;
using System.CommandLine.Invocation;
using System.CommandLine.Parsing;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Ports;
using FedRLora.Client.Commands;
using FedRLora.Client.Control;
using FedRLora.Grains.Store;
using FedRLora.Silo;
using FedRLora.Silo.Storage;
using FedRLora.Training;
using FedRLora.Training.Devices;

namespace FedRLora.Client;

/// <summary>Parses, runs and turns what went wrong into a line and an exit code.</summary>
internal static class Cli
{
    /// <summary>Set to 1 to see stack traces.</summary>
    public const string TraceVariable = "FEDRLORA_TRACE";

    // A value is a value: without this one that begins with @ would be the name of a file of arguments.
    private static readonly ParserConfiguration Parsing = new() { ResponseFileTokenReplacer = null };

    /// <summary>Options whose value is a text, in which blanks count; they say themselves what is wrong with an empty one.</summary>
    private static readonly string[] TakesAnyText = ["--prompt", "--stop"];

    public static async Task<int> RunAsync(
        IReadOnlyList<string> args, IReadOnlyList<Func<Command>> commands, TextWriter output, TextWriter error,
        CancellationToken cancellationToken = default)
    {
        if (Libtorch.Problem is { } unusable)
        {
            await error.WriteLineAsync(unusable);
            return ExitCode.Environment;
        }

        var root = new RootCommand("Federated low-rank adaptation of one frozen language model over many sites.");
        foreach (var create in commands)
            root.Add(create());

        var parsed = root.Parse(args.Count == 0 ? ["--help"] : MaySend.Joined(args), Parsing);
        if (WithoutValue(parsed) is { } empty)
        {
            await error.WriteLineAsync($"{empty}: the value is empty; see {OwnCommand.Name} {PathOf(parsed.CommandResult)}--help");
            return ExitCode.BadInput;
        }

        if (parsed.Action is ParseErrorAction || UnknownOption(parsed) is not null)
        {
            await error.WriteLineAsync(Misspelt(parsed));
            return ExitCode.BadInput;
        }

        if (Environment.GetEnvironmentVariable(ThreadWaiting.Variable) is not null && ThreadWaiting.OfThisProcess.Problem is { } problem)
        {
            await error.WriteLineAsync(problem);
            return ExitCode.BadInput;
        }

        try
        {
            return await parsed.InvokeAsync(
                new InvocationConfiguration
                {
                    Output = output, Error = error, EnableDefaultExceptionHandler = false, ProcessTerminationTimeout = null,
                },
                cancellationToken);
        }
#pragma warning disable CA1031 // The last line of defence: everything becomes an exit code.
        catch (Exception e)
#pragma warning restore CA1031
        {
            var (code, message) = Explain(e, cancellationToken);
            await error.WriteLineAsync(message);
            if (Environment.GetEnvironmentVariable(TraceVariable) == "1")
                await error.WriteLineAsync(e.ToString());
            return code;
        }
    }

    /// <summary>The first option or argument given nothing but blanks, as by a shell variable that is not set; null for none.</summary>
    private static string? WithoutValue(ParseResult parsed)
    {
        foreach (var found in parsed.CommandResult.Children)
        {
            var name = found switch
            {
                OptionResult option => option.Option.Name,
                ArgumentResult argument => argument.Argument.Name,
                _ => "",
            };
            if (found.Tokens.Any(static token => string.IsNullOrWhiteSpace(token.Value)) && !TakesAnyText.Contains(name)) return name;
        }

        return null;
    }

    /// <summary>An option that no command knows would be taken for an argument; one may begin so behind <c>--</c>.</summary>
    private static string? UnknownOption(ParseResult parsed) => parsed.Tokens.Any(static token => token.Type == TokenType.DoubleDash)
        ? null
        : parsed.CommandResult.Children.OfType<ArgumentResult>().SelectMany(static argument => argument.Tokens)
            .Select(static token => token.Value).FirstOrDefault(static value => value.StartsWith("--", StringComparison.Ordinal));

    /// <summary>What is wrong with a command line, in one line: for an unknown word nothing but that.</summary>
    private static string Misspelt(ParseResult parsed)
    {
        var isRoot = parsed.CommandResult.Command.Subcommands.Count > 0;
        var problem = (UnknownOption(parsed) ?? (parsed.UnmatchedTokens is [var first, ..] ? first : null)) is { } word
            ? $"unknown {(word.StartsWith('-') ? "option" : isRoot ? "command" : "argument")} '{word}'"
            : string.Join("; ", parsed.Errors.Select(static found => OneLine(found.Message).TrimEnd('.')).Distinct());
        return $"{problem}; see {OwnCommand.Name} {PathOf(parsed.CommandResult)}--help";
    }

    /// <summary>The words that lead to a command, each with a blank behind it.</summary>
    private static string PathOf(CommandResult result) =>
        result.Parent is CommandResult parent ? $"{PathOf(parent)}{result.Command.Name} " : "";

    internal static (int Code, string Message) Explain(Exception exception, CancellationToken cancellationToken) => exception switch
    {
        AggregateException { InnerExceptions: [var only] } => Explain(only, cancellationToken),
        OperationCanceledException when cancellationToken.IsCancellationRequested => (ExitCode.Interrupted, "Interrupted."),
        BadInputException =>
            (DiskErrors.IsOfTheDisk(exception.InnerException) ? ExitCode.Environment : ExitCode.BadInput, exception.Message),
        EnvironmentException or ClusterUnavailableException => (ExitCode.Environment, exception.Message),
        ControlException => (ExitCode.Failed, exception.Message),
        _ when CorruptBlobException.OrBadInputIn(exception) is { } refusal => (ExitCode.BadInput, refusal.Message),
        _ when StoreUnavailableException.In(exception) is { } away => (ExitCode.Environment, away.Message),
        _ when DiskErrors.In(exception) is { } error =>
            (ExitCode.Environment, $"{OneLine(exception)}; {error[(error.IndexOf(';', StringComparison.Ordinal) + 2)..]}, then try again."),
        _ when Missing(exception) is { } missing =>
            (ExitCode.Environment, $"This machine lacks something that the program needs: {OneLine(missing)}"),
        _ => (ExitCode.Failed, $"{exception.GetType().Name}: {OneLine(exception)} (set {TraceVariable}=1 for the stack trace)"),
    };

    /// <summary>The native library that could not be loaded, wherever a static constructor hid it.</summary>
    internal static Exception? Missing(Exception exception)
    {
        for (var e = exception; e is not null; e = e.InnerException)
        {
            if (e is DllNotFoundException or BadImageFormatException or EntryPointNotFoundException)
                return e;
            if (e is NotSupportedException && e.Message.Contains("libtorch", StringComparison.OrdinalIgnoreCase))
                return e;
        }

        return null;
    }

    private static string OneLine(Exception exception) => OneLine(exception.Message);

    private static string OneLine(string message) =>
        string.Join(' ', message.Split(['\r', '\n'], StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries));
}
