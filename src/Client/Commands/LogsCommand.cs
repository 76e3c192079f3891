using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using FedRLora.Abstractions;
using FedRLora.Client.Control;
using FedRLora.ControlPlane.Views;

namespace FedRLora.Client.Commands;

/// <summary><c>fedrlora logs RUN</c>: what silos wrote about a run, and with <c>--follow</c> what they write from now on.</summary>
internal static class LogsCommand
{
    private static readonly TimeSpan AskEvery = TimeSpan.FromSeconds(1);

    public static Command Create()
    {
        var run = new Argument<string>("run") { Description = "The run's name" };
        var follow = new Option<bool>("--follow") { Description = "Go on with what is written from now on, until Ctrl-C" };
        var json = SharedOptions.Json();
        var command = new Command("logs", "Show what running silos wrote about a run, as far as they remember it") { run, follow, json };
        var target = ControlTarget.AddTo(command);
        command.SetAction(async (parsed, cancellationToken) =>
        {
            var id = Identifiers.Check("run", parsed.GetRequiredValue(run));
            var (output, error) = (parsed.InvocationConfiguration.Output, parsed.InvocationConfiguration.Error);
            using var silos = target.Open(parsed);
            var silent = new HashSet<string>(StringComparer.Ordinal);
            for (string? after = null; ;)
            {
                var path = $"{ControlClient.Run(id)}/logs{(after is null ? "" : $"?after={Uri.EscapeDataString(after)}")}";
                var news = await silos.GetAsync<LogView>(path, cancellationToken);
                if (news.Forgotten > 0) await error.WriteLineAsync(Forgotten(news.Forgotten));
                foreach (var line in news.Lines)
                    await output.WriteLineAsync(parsed.GetValue(json) ? Json.Line(line) : Text(line));
                foreach (var missing in news.Missing.Where(silent.Add)) await error.WriteLineAsync(ControlErrors.Line(missing));
                silent.IntersectWith(news.Missing);
                var isRest = news.Lines.Count > 0 && news.Next != after;
                after = news.Next;
                if (isRest) continue;
                if (!parsed.GetValue(follow)) return news.Missing.Count > 0 ? ExitCode.Environment : ExitCode.Done;
                await Task.Delay(AskEvery, cancellationToken);
            }
        });
        return command;
    }

    private static string Forgotten(long lines) => string.Create(
        CultureInfo.InvariantCulture, $"{lines} lines before these are no longer remembered");

    private static string Text(SiloLine line) => ControlErrors.Line(string.Create(CultureInfo.InvariantCulture,
        $"{line.Line.At:yyyy-MM-dd'T'HH:mm:ss'Z'} {line.Silo} {line.Line.Level}: {line.Line.Text}"));
}
