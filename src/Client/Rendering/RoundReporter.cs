using System.Globalization;
using System.Text;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Client.RunFolder;
using FedRLora.ControlPlane.Metrics;
using FedRLora.ControlPlane.Views;
using Spectre.Console;
using Spectre.Console.Rendering;

namespace FedRLora.Client.Rendering;

/// <summary>Follows a job and shows every committed round once: a moving table, a line, or a JSON object.</summary>
/// <param name="screen">Where to.</param>
/// <param name="plan">Names the tasks; without it a client is its own task.</param>
internal sealed class RoundReporter(Screen screen, FederationPlan? plan)
{
    private const int ShownTasks = 6, ShownTroubles = 5;

    private readonly List<RoundSummary> _rounds = [];
    private readonly List<RoundView> _views = [];
    private readonly HoldNews _holds = new(TimeProvider.System);
    private readonly HashSet<string> _told = new(StringComparer.Ordinal); // lines that are said once

    /// <summary>Added to the line that says that a job is paused: how it goes on.</summary>
    public string? WhenPaused { get; init; }

    /// <summary>The committed rounds seen so far.</summary>
    public IReadOnlyList<RoundSummary> Rounds => _rounds;

    /// <summary>The last round seen; -1 before the first. What to name in the next question for progress.</summary>
    public int LastRound => _rounds.Count == 0 ? -1 : _rounds[^1].Manifest.Round;

    /// <summary>Shows snapshots until they end; returns the last one, null if there was none.</summary>
    public async Task<RunSnapshot?> FollowAsync(IAsyncEnumerable<RunSnapshot> snapshots, CancellationToken cancellationToken = default)
    {
        RunSnapshot? last = null;
        if (screen.Mode == ScreenMode.Terminal)
        {
            await screen.Console.Live(new Text("waiting for the first round")).StartAsync(async live =>
            {
                await foreach (var progress in snapshots.WithCancellation(cancellationToken))
                {
                    last = progress;
                    Take(progress);
                    live.UpdateTarget(Picture(progress));
                }
            });
        }
        else
        {
            await foreach (var progress in snapshots.WithCancellation(cancellationToken))
            {
                last = progress;
                foreach (var line in progress.Missing.Select(line => $"round {progress.Round}: {line}").Where(_told.Add))
                    screen.Error.WriteLine(line);
                if (_holds.Next(progress, EndOf(progress)) is { } news) screen.Error.WriteLine(news);
                foreach (var view in Take(progress))
                {
                    screen.Output.WriteLine(screen.Mode == ScreenMode.Json ? MetricsText.JsonLine(view) : Line(view, progress.Rounds));
                    foreach (var note in NoteLines.Of(view).Where(_told.Add)) screen.Error.WriteLine($"note: {note}");
                }
            }
        }

        var end = last?.Status switch
        {
            JobStatus.Failed => "failed",
            JobStatus.Cancelled => "was cancelled",
            JobStatus.Paused => "is paused",
            _ => null,
        };
        if (end is not null)
        {
            var reason = last!.Reason is { } why ? $": {why}" : ".";
            var wayOn = last.Status == JobStatus.Paused && WhenPaused is not null ? $" {WhenPaused}" : "";
            screen.Error.WriteLine($"{last.Run} {end} in round {last.Round}{reason}{wayOn}");
        }

        return last;
    }

    /// <summary>For example <c>round 3/10  loss 1.234  sst2 0.710  trec 0.550  2.1 s</c>.</summary>
    internal static string Line(RoundView round, int rounds)
    {
        var width = rounds.ToString(CultureInfo.InvariantCulture).Length;
        var line = new StringBuilder("round ").Append(round.Round.ToString(CultureInfo.InvariantCulture).PadLeft(width)).Append('/')
            .Append(rounds);
        if (round.MeanLoss is not null)
            line.Append("  loss ").Append(Words.Loss(round.MeanLoss));
        var scored = round.Tasks.Where(static task => task.Score is not null).ToList();
        foreach (var task in scored.Take(ShownTasks))
            line.Append("  ").Append(task.Task).Append(' ').Append(Words.Score(task.Score));
        if (scored.Count > ShownTasks)
            line.Append("  ...");
        if (scored.Count > 1 && round.MeanScore is not null)
            line.Append("  mean ").Append(Words.Score(round.MeanScore));
        if (round.Seconds > 0)
            line.Append("  ").Append(Words.Seconds(round.Seconds));
        Append(line, round.Clients.Where(static client => client.Trouble is not null)
            .GroupBy(static client => (client.Trouble!, client.Reason)));
        Append(line, round.Clients.Where(static client => client.ScoreReason is not null)
            .GroupBy(static client => ("not scored", client.ScoreReason)));
        var kept = round.Kept.GroupBy(static task => task.Value, static task => task.Key).ToList();
        foreach (var reason in kept.Take(ShownTroubles))
        {
            line.Append("  state kept of ").AppendJoin(", ", reason.Order(StringComparer.Ordinal).Take(ShownTasks))
                .Append(reason.Count() > ShownTasks ? $" and {Words.Count(reason.Count() - ShownTasks, "more task")}" : "")
                .Append($" ({reason.Key})");
        }

        if (kept.Count > ShownTroubles)
            line.Append("  and of ").Append(Words.Count(kept.Skip(ShownTroubles).Sum(static reason => reason.Count()), "more task"));

        return line.ToString();
    }

    // Those of one reason together, so that a round stays a line that is read, however many clients have it.
    private static void Append(StringBuilder line, IEnumerable<IGrouping<(string What, string? Why), ClientRow>> troubles)
    {
        var groups = troubles.ToList();
        foreach (var group in groups.Take(ShownTroubles))
        {
            line.Append("  ").Append(group.Key.What).Append(": ")
                .AppendJoin(", ", group.Take(ShownTroubles).Select(static client => client.Client))
                .Append(group.Count() > ShownTroubles ? $" and {group.Count() - ShownTroubles} more" : "")
                .Append(group.Key.Why is { } why ? $" ({why})" : "");
        }

        if (groups.Count > ShownTroubles)
        {
            line.Append("  ").Append(Words.Count(groups.Skip(ShownTroubles).Sum(static group => group.Count()), "more client"))
                .Append(" with other reasons");
        }
    }

    /// <summary>Rounds that were not seen before, in order.</summary>
    private List<RoundView> Take(RunSnapshot progress)
    {
        var news = progress.NewRounds.Where(round => round.Manifest.Round > LastRound)
            .OrderBy(static round => round.Manifest.Round).ToList();
        List<RoundView> views = [.. news.Select(round => RoundView.Of(round, plan))];
        _rounds.AddRange(news);
        _views.AddRange(views);
        return views;
    }

    private Rows Picture(RunSnapshot progress)
    {
        var tasks = _views.SelectMany(static view => view.Tasks).Where(static task => task.Score is not null)
            .Select(static task => task.Task).Distinct().Take(ShownTasks).ToList();
        var table = new Table().Border(TableBorder.Rounded).AddColumn(new TableColumn("round").RightAligned())
            .AddColumn(new TableColumn("loss").RightAligned());
        foreach (var task in tasks)
            table.AddColumn(new TableColumn(Markup.Escape(task)).RightAligned());
        table.AddColumn(new TableColumn("mean").RightAligned()).AddColumn(new TableColumn("sent").RightAligned())
            .AddColumn(new TableColumn("time").RightAligned()).AddColumn("missing");
        foreach (var view in _views.TakeLast(Math.Max(4, screen.Console.Profile.Height - 8)))
        {
            string[] cells =
            [
                view.Round.ToString(CultureInfo.InvariantCulture), Words.Loss(view.MeanLoss),
                .. tasks.Select(task => Words.Score(view.Tasks.FirstOrDefault(t => t.Task == task)?.Score)),
                Words.Score(view.MeanScore), Words.Bytes(view.UpdateBytes), Words.Seconds(view.Seconds),
                string.Join(", ", view.Clients.Where(static c => c.Trouble is not null || c.ScoreReason is not null)
                    .Select(static c => c.Client)),
            ];
            table.AddRow(cells.Select(static cell => (IRenderable)new Text(cell)));
        }

        IEnumerable<IRenderable> rounds = screen.Fits(table) ? [table] : Lines(progress.Rounds);
        var bar = new Markup(Bar(progress, screen.Console.Profile.Width));
        var hold = progress is { Status: JobStatus.Running, Hold: { } held } ? HoldNews.WorkOf(held, EndOf(progress)) : null;
        string[] notes = [.. hold is null ? [] : new[] { hold }, .. progress.Missing];
        return new([.. rounds, bar, .. notes.Select(static line => new Text(line))]);
    }

    private DateTimeOffset? EndOf(RunSnapshot progress) => Forecast.EndOf(
        progress.Status, TimeProvider.System.GetUtcNow(),
        Forecast.MedianSeconds(_rounds.Select(static round => (round.Manifest.Round, (double?)round.Seconds))), progress.Rounds, LastRound,
        progress.Hold);

    // Where the table would break its numbers: as many of the last rounds as the terminal shows, each broken between words alone.
    private IEnumerable<IRenderable> Lines(int rounds)
    {
        var lines = _views.Select(view => Line(view, rounds)).ToList();
        var each = lines.Select(line => 1 + line.Length / Math.Max(1, screen.Console.Profile.Width / 2)).DefaultIfEmpty(1).Max();
        return lines.TakeLast(Math.Max(1, (screen.Console.Profile.Height - 6) / each)).Select(static line => new Text(line));
    }

    private static string Bar(RunSnapshot progress, int columns)
    {
        const int Widest = 30;
        var width = Math.Min(Widest, Math.Max(1, columns / 2));
        var done = progress.Status == JobStatus.Finished ? progress.Rounds : Math.Max(0, progress.Round - 1);
        var inRound = progress is { Status: JobStatus.Running, Cohort: > 0 } ? (double)progress.Reported / progress.Cohort : 0;
        var filled = (int)Math.Clamp(width * (done + (progress.Phase == "train" ? inRound : 0)) / Math.Max(1, progress.Rounds), 0, width);
        var state = progress.Status switch
        {
            JobStatus.Running => $"{progress.Phase} {progress.Reported}/{progress.Cohort} "
                + $"clients{(progress.Attempt > 1 ? $", attempt {progress.Attempt}" : "")}",
            var other => other.ToString().ToLowerInvariant(),
        };
        return $"{Markup.Escape(progress.Name)}  [green]{new string('━', filled)}[/][grey]{new string('━', width - filled)}[/]"
            + $"  round {progress.Round}/{progress.Rounds}  {Markup.Escape(state)}";
    }
}
