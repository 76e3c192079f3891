using System.CommandLine;
using FedRLora.Client.Commands;
using FedRLora.Training;

namespace FedRLora.Client;

internal static class Program
{
    /// <summary>Every command, in the order of the help.</summary>
    internal static IReadOnlyList<Func<Command>> Commands { get; } =
    [
        SimulateCommand.Create,
        ResumeCommand.Create,
        ExtendCommand.Create,
        ForkCommand.Create,
        SweepCommand.Create,
        ReportCommand.Create,
        MetricsCommand.Create,
        VerifyCommand.Create,
        RepairCommand.Create,
        GcCommand.Create,
        ExportCommand.Create,
        MergeCommand.Create,
        CombineCommand.Create,
        ConvertCommand.Create,
        EvalCommand.Create,
        GenerateCommand.Create,
        SiloCommand.Create,
        SubmitCommand.Create,
        RunsCommand.Create,
        CompareCommand.Create,
        WatchCommand.Create,
        LogsCommand.Create,
        OpenCommand.Create,
        AuditCommand.Create,
        TokenCommand.Create,
        PauseCommand.Create,
        CancelCommand.Create,
        ValidateCommand.Create,
        MethodsCommand.Create,
        PkiCommand.Create,
        DoctorCommand.Create,
    ];

    private static bool AsksOnly(string[] args) =>
        args is ["watch" or "runs" or "compare" or "submit" or "pause" or "cancel" or "logs" or "open" or "audit", ..]
            || args.Contains("--server");

    internal static async Task<int> Main(string[] args)
    {
        var streams = StandardStreams.Take(json: args.Contains("--json"));
        using var interruption = new Interruption(Console.Error, takesItsTime: args is ["silo", ..], asksOnly: AsksOnly(args));
        var code = streams.Ended(await Cli.RunAsync(args, Commands, Console.Out, Console.Error, interruption.Token));
        if (NativeExit.IsWorkLeft) NativeExit.Leave(code);
        return code;
    }
}
