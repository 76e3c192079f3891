namespace FedRLora.Training.Lanes;

/// <summary>The turn of work on a lane.</summary>
/// <param name="time">The clock.</param>
/// <param name="began">When it began, by that clock.</param>
/// <param name="length">How long it may last; zero where others may wait for the lane after every little step.</param>
internal sealed class LaneTurn(TimeProvider time, long began, TimeSpan length)
{
    /// <summary>Whether a piece that could go on leaves that to its next turn.</summary>
    public bool IsOver => time.GetElapsedTime(began) >= length;

    /// <summary>What it gave of its time to pieces between its steps.</summary>
    public TimeSpan Lent { get; set; }
}
