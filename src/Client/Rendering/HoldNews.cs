using System.Globalization;
using FedRLora.Abstractions.Messages;
using FedRLora.ControlPlane.Views;

namespace FedRLora.Client.Rendering;

/// <summary>
/// What a run waits for as lines that are read one after another: said when it begins, each minute while it lasts, and when it ends; and
/// how far a long round is, each half minute.
/// </summary>
internal sealed class HoldNews(TimeProvider time)
{
    private static readonly TimeSpan Quiet = TimeSpan.FromMinutes(1), QuietAtWork = TimeSpan.FromSeconds(30);
    private string? _held; // what was said, while it lasts
    private DateTimeOffset _saidAt = time.GetUtcNow();

    /// <summary>The line that is due; null for none.</summary>
    /// <param name="progress">Where the run stands.</param>
    /// <param name="end">When it ends, as far as that can be told.</param>
    public string? Next(RunSnapshot progress, DateTimeOffset? end = null)
    {
        var hold = progress.Status == JobStatus.Running ? progress.Hold : null;
        if (progress.NewRounds.Count > 0) _saidAt = time.GetUtcNow(); // rounds are news of their own
        if (hold is { Kind: not HoldKind.AtWork })
        {
            var identity = $"{progress.Round}|{hold.Identity}";
            if (identity == _held && time.GetUtcNow() - _saidAt < Quiet) return null;
            _held = identity;
            return Line($"round {progress.Round} waits: {hold.Text}");
        }

        if (_held is not null && hold is not null)
        {
            _held = null;
            return Line($"round {progress.Round} goes on");
        }

        return hold is not null && time.GetUtcNow() - _saidAt >= QuietAtWork
            ? Line($"round {progress.Round}: {WorkOf(hold, end)}")
            : null;
    }

    /// <summary>How far clients at work are, for how long, and when the run ends.</summary>
    public static string WorkOf(HoldView hold, DateTimeOffset? end) => hold.Text
        + (hold.Seconds is { } seconds and >= 1 ? $"; {Words.Seconds(seconds)} so far" : "")
        + (end is { } at ? string.Create(CultureInfo.InvariantCulture, $"; the run ends at about {at:yyyy-MM-dd HH:mm'Z'}") : "");

    private string Line(string text)
    {
        _saidAt = time.GetUtcNow();
        return string.Create(CultureInfo.InvariantCulture, $"{_saidAt:yyyy-MM-dd'T'HH:mm:ss'Z'} {text}");
    }
}
