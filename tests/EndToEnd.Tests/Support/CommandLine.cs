using FedRLora.Client;

namespace FedRLora.EndToEnd.Tests;

/// <summary>What a command wrote and returned.</summary>
internal sealed record CommandResult(int Code, string Output, string Error)
{
    public IReadOnlyList<string> ErrorLines => Error.Split('\n', StringSplitOptions.RemoveEmptyEntries);
}

/// <summary>The program in this process.</summary>
internal static class CommandLine
{
    public static async Task<CommandResult> RunAsync(params string[] args)
    {
        using var output = new StringWriter();
        using var error = new StringWriter();
        var code = await Cli.RunAsync(args, Program.Commands, output, error);
        return new(code, output.ToString(), error.ToString());
    }
}
