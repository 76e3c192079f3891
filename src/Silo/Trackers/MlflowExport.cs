using FedRLora.Abstractions.Grains;
using FedRLora.Abstractions.Ports;
using FedRLora.Grains.Coordination;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace FedRLora.Silo.Trackers;

/// <summary>
/// Sends the runs that this silo coordinates to MLflow, each at its own pace, and lets nobody wait for it. It starts after the silo and
/// stops before it.
/// </summary>
internal sealed partial class MlflowExport(
    MlflowServer server, CoordinatedRuns runs, IGrainFactory grains, IBlobStores stores, TrackerSettings settings, TimeProvider time,
    ILogger<MlflowExport> logger) : IHostedService, IDisposable
{
    private readonly Lock _gate = new();
    private readonly Dictionary<string, Sending> _sending = new(StringComparer.Ordinal);
    private readonly CancellationTokenSource _ending = new(), _ended = new();
    private readonly HttpClient _http = new(new SocketsHttpHandler
    {
        AllowAutoRedirect = false, UseCookies = false, ConnectTimeout = settings.Timeout,
    })
    {
        Timeout = Timeout.InfiniteTimeSpan, MaxResponseContentBufferSize = 64 << 20,
    };

    private long? _saidAt;
    private bool _isDisposed;

    /// <inheritdoc/>
    public Task StartAsync(CancellationToken cancellationToken)
    {
        runs.Began += Begin;
        foreach (var run in runs.Now) Begin(run);
        return Task.CompletedTask;
    }

    /// <inheritdoc/>
    public async Task StopAsync(CancellationToken cancellationToken)
    {
        runs.Began -= Begin;
        Task[] all;
        lock (_gate) all = [.. _sending.Values.Select(static sending => sending.Work)];
        _ended.CancelAfter(settings.Patience);
        await _ending.CancelAsync();
        await Task.WhenAll(all);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_isDisposed) return; // by two registrations of its owner
        _isDisposed = true;
        _ending.Cancel();
        _ended.Cancel();
        _http.Dispose();
        _ending.Dispose();
        _ended.Dispose();
    }

    private void Begin(string run)
    {
        lock (_gate)
        {
            if (_ending.IsCancellationRequested) return;
            if (_sending.TryGetValue(run, out var sending)) sending.IsAsked = true;
            else (_sending[run] = sending = new()).Work = Task.Run(() => SendAllAsync(run, sending));
        }
    }

    // Until nobody has asked for it since it was done.
    private async Task SendAllAsync(string run, Sending sending)
    {
        while (true)
        {
            await SendAsync(run);
            lock (_gate)
            {
                if (!sending.IsAsked || _ending.IsCancellationRequested)
                {
                    _sending.Remove(run);
                    return;
                }

                sending.IsAsked = false;
            }
        }
    }

    private async Task SendAsync(string run)
    {
        var api = new MlflowApi(server.Address, MlflowServer.Credentials(), _http, settings.Timeout);
        var sender = new MlflowSender(
            run, new MlflowRun(api, server, stores.Job, run), server, grains.GetGrain<IRunControlGrain>(run), stores.Job, settings, time);
        var reason = "it did not answer";
        while (true)
        {
            var isLast = _ending.IsCancellationRequested;
            MlflowSender.Step step;
            try
            {
                step = await sender.TryAsync(isLast, _ended.Token);
            }
            catch (OperationCanceledException)
            {
                break;
            }

            if (step == MlflowSender.Step.Done) break;
            if (step == MlflowSender.Step.More) continue;
            if (step == MlflowSender.Step.Later)
            {
                reason = sender.Trouble!.Message;
                if (isLast) break;
                Say(reason);
            }

            if (!sender.IsOver && !runs.Has(run)) break; // it goes on at another silo
            await PauseAsync(step == MlflowSender.Step.Later ? sender.Pause : settings.LookEvery);
        }

        if (sender.Refused > 0) LogRefused(logger, server.Address, sender.Refused, run);
        if (!_ending.IsCancellationRequested) return;
        var (points, rounds, exact) = await sender.LeftAsync(settings.CountPatience);
        if (points > 0) LogLeft(logger, server.Address, reason, exact, points, rounds, run);
    }

    private void Say(string reason)
    {
        lock (_gate)
        {
            if (_saidAt is { } said && time.GetElapsedTime(said) < settings.SayAgainAfter) return;
            _saidAt = time.GetTimestamp();
        }

        LogLater(logger, server.Address, reason);
    }

    private async Task PauseAsync(TimeSpan pause)
    {
        try
        {
            await Task.Delay(pause, time, _ending.Token);
        }
        catch (OperationCanceledException)
        {
            // the end is near: one try more
        }
    }

    private sealed class Sending
    {
        public Task Work { get; set; } = Task.CompletedTask;

        public bool IsAsked { get; set; }
    }

    [LoggerMessage(530, LogLevel.Warning,
        "MLflow waits, and the rounds go on: {Place}: {Reason}: points are sent later, from the run's record")]
    private static partial void LogLater(ILogger logger, string place, string reason);

    [LoggerMessage(531, LogLevel.Warning,
        "MLflow has not everything: {Place}: {Reason}: {Exact}{Points} points of {Rounds} rounds of {Run} are sent when it is resumed")]
    private static partial void LogLeft(ILogger logger, string place, string reason, string exact, int points, int rounds, string run);

    [LoggerMessage(532, LogLevel.Warning, "MLflow refuses points, and the rounds go on: {Place}: {Points} points of {Run}")]
    private static partial void LogRefused(ILogger logger, string place, long points, string run);
}
