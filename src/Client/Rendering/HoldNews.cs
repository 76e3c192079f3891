using System.Globalization;
using FedRLora.Abstractions.Messages;

namespace FedRLora.Client.Rendering;

/// <summary>
/// What a run waits for as lines that are read one after another: said when it begins, each minute while it lasts, and when it ends.
/// </summary>
internal sealed class HoldNews(TimeProvider time)
{
    private static readonly TimeSpan Quiet = TimeSpan.FromMinutes(1);
    private string? _held; // what was said, while it lasts
    private DateTimeOffset _saidAt = time.GetUtcNow();

    /// <summary>The line that is due; null for none.</summary>
    public string? Next(RunSnapshot progress)
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

        return hold is not null && time.GetUtcNow() - _saidAt >= Quiet ? Line($"round {progress.Round}: {hold.Text}") : null;
    }

    private string Line(string text)
    {
        _saidAt = time.GetUtcNow();
        return string.Create(CultureInfo.InvariantCulture, $"{_saidAt:yyyy-MM-dd'T'HH:mm:ss'Z'} {text}");
    }
}
