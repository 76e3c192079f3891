using FedRLora.Abstractions.Messages;

namespace FedRLora.ControlPlane.Views;

/// <summary>Means over the scored clients, each counting alike; nothing where their metrics differ.</summary>
internal sealed class MeanOverClients
{
    private readonly List<FinalRow> _scored;

    /// <param name="rows">The clients.</param>
    /// <param name="aside">Those that are no part of the mean where others are scored: their task leaves nothing to choose.</param>
    public MeanOverClients(IEnumerable<FinalRow> rows, IReadOnlySet<string> aside)
    {
        _scored = [.. rows.Where(static row => row.Metric is not null)];
        if (_scored.Any(row => !aside.Contains(row.Client))) _scored.RemoveAll(row => aside.Contains(row.Client));
        Metric = _scored.Select(static row => row.Metric).Distinct().Take(2).ToList() is [var metric] ? metric : null;
    }

    /// <summary>The metric of all; null where they differ, or where nobody is scored.</summary>
    public string? Metric { get; }

    /// <summary>How many clients the means are of.</summary>
    public int Count => Metric is null ? 0 : _scored.Count;

    /// <summary>The mean of a column; null where a client has no value in it.</summary>
    public double? Of(Func<FinalRow, double?> column) =>
        Metric is not null && _scored.All(row => column(row) is not null) ? RoundView.Mean(_scored.Select(column)) : null;

    /// <summary>The standard error of the mean at most: see <see cref="ScoreErrors.OfMean"/>.</summary>
    /// <param name="column">The errors.</param>
    /// <param name="group">Clients of one group may be scored on the same rows.</param>
    public double? ErrorOf(Func<FinalRow, double?> column, Func<FinalRow, string> group) =>
        Metric is null ? null : ScoreErrors.OfMean([.. _scored.Select(row => (group(row), column(row)))]);
}
