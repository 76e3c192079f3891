using System.Globalization;

namespace FedRLora.Training;

/// <summary>Takes a line that says how long work will take.</summary>
/// <param name="line">The line.</param>
public delegate void ForecastSink(string line);

/// <summary>Says once how long some work will take, as soon as enough of it is done to tell, where that is worth a line.</summary>
/// <param name="sink">Gets the line; null for nobody.</param>
/// <param name="line">From the time that all of the work takes to the line.</param>
/// <param name="time">The clock; null for the system's.</param>
internal sealed class Forecast(ForecastSink? sink, Func<TimeSpan, string> line, TimeProvider? time = null)
{
    private static readonly TimeSpan Enough = TimeSpan.FromSeconds(2);
    private static readonly TimeSpan Worth = TimeSpan.FromSeconds(10);

    private readonly TimeProvider _time = time ?? TimeProvider.System;
    private readonly long _started = (time ?? TimeProvider.System).GetTimestamp();
    private bool _isSaid;

    /// <summary>So much of the work is done.</summary>
    /// <param name="share">Above 0 and at most 1.</param>
    public void Reached(double share)
    {
        if (sink is null || _isSaid || share <= 0) return;
        var elapsed = _time.GetElapsedTime(_started);
        if (elapsed < Enough) return;
        _isSaid = true;
        var total = elapsed / share;
        if (total - elapsed >= Worth) sink(line(total));
    }

    /// <summary>A time as people say it.</summary>
    public static string Shown(TimeSpan span) => span switch
    {
        { TotalMinutes: < 2 } => string.Create(CultureInfo.InvariantCulture, $"{span.TotalSeconds:0} s"),
        { TotalHours: < 2 } => string.Create(CultureInfo.InvariantCulture, $"{span.TotalMinutes:0} min"),
        _ => string.Create(CultureInfo.InvariantCulture, $"{span.TotalHours:0.#} h"),
    };
}
