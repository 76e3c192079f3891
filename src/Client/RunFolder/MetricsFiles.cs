using System.Text;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.ControlPlane.Metrics;
using FedRLora.ControlPlane.Views;
using FedRLora.Silo.Storage;

namespace FedRLora.Client.RunFolder;

/// <summary>
/// The metrics of a run as files that grow with each committed round: those of <see cref="MetricsText"/> and TensorBoard's. What they hold
/// depends on the committed rounds alone, so that a run which is taken up goes on with the files that it left.
/// </summary>
/// <param name="folder">Where metrics go.</param>
/// <param name="events">Where TensorBoard's file goes.</param>
/// <param name="mode">Who may read them.</param>
/// <param name="plan">Names the tasks.</param>
internal sealed class MetricsFiles(string folder, string events, StoreMode mode, FederationPlan plan)
{
    private readonly List<GrowingFile> _text = [];
    private TensorBoardFile? _events;
    private int _rounds, _points; // that are in the texts, and in TensorBoard's file

    /// <summary>Adds those of a run's committed rounds that are not in the files.</summary>
    /// <exception cref="IOException">A file cannot be written; the next call writes all of them again.</exception>
    /// <exception cref="UnauthorizedAccessException">Likewise.</exception>
    public void Add(IReadOnlyList<RoundSummary> rounds)
    {
        try
        {
            for (; _rounds < rounds.Count; _rounds++) AddText(RoundView.Of(rounds[_rounds], plan));
        }
        catch
        {
            _text.Clear();
            _rounds = 0;
            throw;
        }

        try
        {
            for (; _points < rounds.Count; _points++) (_events ??= new(events, mode)).Add(RoundView.Of(rounds[_points], plan));
        }
        catch
        {
            (_events, _points) = (null, 0);
            throw;
        }
    }

    /// <summary>Adds as <see cref="Add(IReadOnlyList{RoundSummary})"/> does; after that the files hold nothing else.</summary>
    /// <inheritdoc cref="Add(IReadOnlyList{RoundSummary})" path="/exception"/>
    public void Write(IReadOnlyList<RoundSummary> rounds)
    {
        try
        {
            Add(rounds);
            foreach (var file in _text) file.End();
            _events?.End();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException && DiskErrors.In(e) is null)
        {
            throw new EnvironmentException(
                $"{folder}: what the run has measured cannot be written: {e.Message.TrimEnd('.')}; what is committed is kept", e);
        }
    }

    private void AddText(RoundView round)
    {
        var isFirst = _text.Count == 0;
        if (isFirst)
        {
            StorePermissions.MakeFolder(folder, mode);
            foreach (var name in new[] { "metrics.csv", "metrics-by-task.csv", "metrics.jsonl" })
                _text.Add(new GrowingFile(Path.Combine(folder, name), mode));
        }

        string[] lines = [MetricsText.CsvOf(round, isFirst), MetricsText.TaskCsvOf(round, isFirst), MetricsText.JsonLine(round) + "\n"];
        foreach (var (file, text) in _text.Zip(lines)) file.Add(Encoding.UTF8.GetBytes(text));
    }
}
