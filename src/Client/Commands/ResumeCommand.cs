using System.CommandLine;
using FedRLora.Client.Local;
using FedRLora.Client.Rendering;

namespace FedRLora.Client.Commands;

/// <summary><c>fedrlora resume runs/NAME-N</c>: goes on after the last committed round.</summary>
internal static class ResumeCommand
{
    public static Command Create()
    {
        var folder = new Argument<string>("run") { Description = "A folder that fedrlora simulate made" };
        var change = new Option<bool>("--allow-engine-change") { Description = "Go on although library, processor or threads differ; the same bits are then not promised" };
        var json = SharedOptions.Json();
        var command = new Command("resume", "Continue a run of this machine that was stopped or killed") { folder, change, json };
        command.SetAction((parsed, cancellationToken) => new LocalRun(RunDirectory.Open(parsed.GetRequiredValue(folder)), Screen.Of(parsed, parsed.GetValue(json)))
            .RunAsync(resume: true, parsed.GetValue(change), cancellationToken));
        return command;
    }
}
