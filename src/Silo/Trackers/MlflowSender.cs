using FedRLora.Abstractions.Grains;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;
using FedRLora.ControlPlane.Trackers;
using FedRLora.ControlPlane.Views;
using FedRLora.Grains;

namespace FedRLora.Silo.Trackers;

/// <summary>
/// Sends one run to MLflow while it is coordinated here. What waits for a server that is away is the run's own record, so that nothing is
/// kept in memory beyond one answer of the coordinator, and nothing gets lost.
/// </summary>
internal sealed class MlflowSender(
    string run, MlflowRun there, MlflowServer server, IRunControlGrain coordinator, IBlobStore store, TrackerSettings settings,
    TimeProvider time)
{
    private const int NoRounds = int.MaxValue; // as the round after which to tell

    private readonly PointTimes _times = new();
    private readonly List<TrackerRound> _pending = [];
    private FederationPlan? _plan;
    private RunDescription? _description;
    private int _read = -1;
    private string _sha256 = "";
    private int _failures;
    private bool _isChosen, _wasOpen;

    /// <summary>Why the last try failed; null where it did not.</summary>
    public TrackerTroubleException? Trouble { get; private set; }

    /// <summary>Whether nothing follows what is committed.</summary>
    public bool IsOver { get; private set; }

    /// <summary>Points that MLflow refused.</summary>
    public long Refused { get; private set; }

    /// <summary>What was just tried.</summary>
    public enum Step
    {
        /// <summary>There is nothing to follow: the run is over and MLflow has it, or is not to have it.</summary>
        Done,

        /// <summary>MLflow has all that is committed.</summary>
        Idle,

        /// <summary>There is more to send.</summary>
        More,

        /// <summary>It failed; <see cref="Pause"/> says when to try again.</summary>
        Later,
    }

    /// <summary>How long to wait after a try that failed.</summary>
    public TimeSpan Pause
    {
        get
        {
            if (Trouble is { NeedsSomebody: true }) return settings.PauseForSomebody;
            var doubled = Pauses.Doubled(settings.FirstPause, Math.Max(1, _failures), settings.LongestPause);
            var asked = Trouble?.After ?? TimeSpan.Zero;
            return asked <= doubled ? doubled : asked < settings.PauseForSomebody ? asked : settings.PauseForSomebody;
        }
    }

    /// <summary>Sends what there is.</summary>
    /// <param name="isLast">Whether nothing follows, since the host ends: a run that goes on elsewhere is taken up there.</param>
    /// <param name="cancellationToken">Ends the try.</param>
    public async Task<Step> TryAsync(bool isLast, CancellationToken cancellationToken)
    {
        try
        {
            var step = await StepAsync(isLast, cancellationToken);
            (Trouble, _failures) = (null, 0);
            return step;
        }
        catch (Exception e) when (!cancellationToken.IsCancellationRequested)
        {
            // whatever it is: no round waits for a tracker, and no host ends by one
            Trouble = e as TrackerTroubleException ?? new TrackerTroubleException(
                e is KeyNotFoundException or InvalidOperationException or FormatException
                    ? "its answer has another form than those of MLflow's API" : e.Message.ReplaceLineEndings(" "));
            _failures++;
            there.Close();
            return Step.Later;
        }
    }

    /// <summary>
    /// How many points are committed that MLflow does not have, as far as that is known in this time, and in a word how exact that is.
    /// </summary>
    public async Task<(int Points, int Rounds, string Exact)> LeftAsync(TimeSpan patience)
    {
        using var ending = new CancellationTokenSource(patience, time);
        var (points, rounds, isWhole) = (there.Missing(_pending), _pending.Count, true);
        try
        {
            while (await coordinator.GetProgressAsync(_read, ending.Token).WaitAsync(ending.Token) is { NewRounds: { Count: > 0 } news })
            {
                _pending.Clear();
                await ReadAsync(news, ending.Token);
                points += there.Missing(_pending);
                rounds += _pending.Count;
            }
        }
        catch (Exception)
        {
            isWhole = false; // the silo ends: what is known by now is said, and that it is not all
        }

        return (points, rounds, (isWhole, _wasOpen) switch
        {
            (true, true) => "",
            (true, false) => "up to ", // it was never asked what it has
            (false, true) => "at least ",
            (false, false) => "about ",
        });
    }

    private async Task<Step> StepAsync(bool isLast, CancellationToken cancellationToken)
    {
        var after = _pending.Count > 0 ? NoRounds : _read;
        if (await coordinator.GetProgressAsync(after, cancellationToken).WaitAsync(cancellationToken) is not { } progress) return Step.Done;
        var isOver = IsOver = progress.Status is JobStatus.Finished or JobStatus.Failed or JobStatus.Cancelled;
        if (!_isChosen && isOver && !await IsToBeSentAsync(cancellationToken)) return Step.Done;
        _isChosen = true;
        await ReadAsync(progress.NewRounds, cancellationToken);
        if (_description is null) return isOver ? Step.Done : Step.Idle;
        if (!there.IsOpen) await OpenAsync(isOver, cancellationToken);
        await SendAsync(cancellationToken);
        if (after == NoRounds || progress.NewRounds.Count > 0) return Step.More;
        var stopped = isLast && !isOver && progress.Status != JobStatus.Paused ? "stopped" : null;
        await there.TagAsync(_description.TagsAt(progress, _sha256, stopped), cancellationToken);
        if (!isOver && !isLast) return Step.Idle;
        await there.SetAsync(EndOf(progress.Status), time.GetUtcNow(), isEnded: isOver, cancellationToken);
        return Step.Done;
    }

    // One that was over before it was ever sent is sent by who was asked for it alone.
    private async Task<bool> IsToBeSentAsync(CancellationToken cancellationToken) =>
        await TrackedRun.ReadAsync(store, run, cancellationToken) is { } tracked
            ? tracked.At(server.Address) is not { IsEnded: true } : server.SendsFinished;

    private async Task OpenAsync(bool isOver, CancellationToken cancellationToken)
    {
        await there.OpenAsync(_description!, cancellationToken);
        _wasOpen = true;
        if (!isOver) await there.SetAsync("RUNNING", at: null, isEnded: false, cancellationToken);
    }

    private async Task SendAsync(CancellationToken cancellationToken)
    {
        try
        {
            await there.SendAsync(_pending, cancellationToken);
        }
        catch (TrackerTroubleException e) when (e.IsRefusal)
        {
            await there.OpenAsync(_description!, cancellationToken); // it may have taken a part
            Refused += there.Missing(_pending);
            there.Skip(_pending);
            Trouble = e;
        }

        _pending.Clear();
    }

    private async Task ReadAsync(IReadOnlyList<RoundSummary> rounds, CancellationToken cancellationToken)
    {
        foreach (var round in rounds)
        {
            _plan ??= PlanReader.Require(await coordinator.GetPlanAsync(cancellationToken).WaitAsync(cancellationToken) ?? "", run);
            var view = RoundView.Of(round, _plan);
            var at = _times.Next(view);
            _description ??= RunDescription.Of(run, _plan, round, at);
            _pending.Add(TrackerRound.Of(view, at));
            (_read, _sha256) = (round.Manifest.Round, round.ManifestSha256);
        }
    }

    private static string EndOf(JobStatus status) => status switch
    {
        JobStatus.Finished => "FINISHED",
        JobStatus.Failed => "FAILED",
        _ => "KILLED",
    };
}
