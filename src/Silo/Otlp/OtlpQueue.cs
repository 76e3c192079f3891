using System.Globalization;
using System.Net;
using Microsoft.Extensions.Logging;

namespace FedRLora.Silo.Otlp;

/// <summary>
/// Sends one signal to its collector, in order, and lets nobody wait for it. What a collector that is away, or has no time, does not take
/// is kept within a bound and sent later, once; what is not answered in time may have arrived, and is not sent again. What is lost is
/// counted, and said in one line.
/// </summary>
internal sealed partial class OtlpQueue : IDisposable
{
    /// <summary>Memory that requests may wait in; the oldest makes room.</summary>
    public const int MostBytes = 8 << 20;

    private static readonly TimeSpan FirstPause = TimeSpan.FromSeconds(0.5), LongestPause = TimeSpan.FromSeconds(5);
    private static readonly TimeSpan SayAgainAfter = TimeSpan.FromMinutes(10);

    private readonly LinkedList<(OtlpRequest Request, int Items)> _waiting = [];
    private readonly Lock _gate = new();
    private readonly SemaphoreSlim _more = new(0);
    private readonly CancellationTokenSource _ending = new(), _ended = new();
    private readonly CancellationToken _isEnding, _hasEnded;
    private readonly string _what;
    private readonly HttpMessageInvoker _http;
    private readonly TimeSpan _timeout;
    private readonly TimeProvider _time;
    private readonly Func<ILogger> _logger;
    private readonly Task _sending;
    private string? _place; // where it goes
    private string? _reason; // why the last one was not sent
    private long _bytes;
    private long _lost;
    private long? _saidAt;
    private bool _isClosed, _isDisposed;

    /// <param name="what">What is counted, in the plural.</param>
    /// <param name="http">Sends.</param>
    /// <param name="timeout">For how long a collector may think.</param>
    /// <param name="time">The clock.</param>
    /// <param name="logger">Hears of what is not delivered; asked for when there is something to say.</param>
    public OtlpQueue(string what, HttpMessageInvoker http, TimeSpan timeout, TimeProvider time, Func<ILogger> logger)
    {
        (_what, _http, _timeout, _time, _logger) = (what, http, timeout, time, logger);
        (_isEnding, _hasEnded) = (_ending.Token, _ended.Token);
        _sending = Task.Run(SendAllAsync);
    }

    /// <summary>Puts a request at the end.</summary>
    public void Add(OtlpRequest request)
    {
        var items = request.Count;
        lock (_gate)
        {
            if (_isClosed) return; // what is made after the end of the host
            _place = $"{request.Address.Scheme}://{request.Address.Authority}{request.Address.AbsolutePath}"; // without a name and password
            _waiting.AddLast((request, items));
            _bytes += request.Body.Length;
            while (_bytes > MostBytes && _waiting.Count > 1)
            {
                _lost += _waiting.First!.Value.Items;
                _bytes -= _waiting.First.Value.Request.Body.Length;
                _waiting.RemoveFirst();
            }
        }

        _more.Release();
    }

    /// <summary>Sends what is left for as long as it is given, and says what is lost.</summary>
    public async Task EndAsync(TimeSpan patience)
    {
        await _ending.CancelAsync(); // no pause any more
        _more.Release();
        await Task.WhenAny(_sending, Task.Delay(patience, _time));
        lock (_gate)
        {
            _isClosed = true;
            _lost += _waiting.Sum(static one => (long)one.Items);
            _waiting.Clear();
        }

        await _ended.CancelAsync();
        await _sending;
        if (_lost > 0) LogLost(_logger(), _place!, _reason ?? "it did not answer", _lost, _what);
    }

    /// <summary>Sends nothing more, of a host that never began or fell over.</summary>
    public void Dispose()
    {
        if (_isDisposed) return; // by two registrations of its owner
        _isDisposed = true;
        _ending.Cancel();
        _ended.Cancel();
        _more.Release();
        _ending.Dispose();
        _ended.Dispose();
    }

    private async Task SendAllAsync()
    {
        var failures = 0;
        while (!_hasEnded.IsCancellationRequested)
        {
            LinkedListNode<(OtlpRequest Request, int Items)>? next;
            lock (_gate) next = _waiting.First;
            if (next is null)
            {
                if (_isEnding.IsCancellationRequested) return;
                await _more.WaitAsync();
                continue;
            }

            var outcome = await TrySendAsync(next.Value.Request);
            if (outcome != Outcome.Later)
            {
                failures = 0;
                Remove(next, isLost: outcome == Outcome.Lost);
                continue;
            }

            if (_isEnding.IsCancellationRequested) return; // one try more is all that the end leaves time for
            await PauseAsync(Grains.Pauses.Doubled(FirstPause, ++failures, LongestPause));
        }
    }

    private void Remove(LinkedListNode<(OtlpRequest Request, int Items)> sent, bool isLost)
    {
        lock (_gate)
        {
            if (sent.List is null) return; // it made room meanwhile
            if (isLost) _lost += sent.Value.Items;
            _bytes -= sent.Value.Request.Body.Length;
            _waiting.Remove(sent);
        }
    }

    private async Task<Outcome> TrySendAsync(OtlpRequest request)
    {
        using var patience = CancellationTokenSource.CreateLinkedTokenSource(_hasEnded);
        patience.CancelAfter(_timeout);
        try
        {
            using var message = request.Message();
            using var answer = await _http.SendAsync(message, patience.Token);
            // trailers are last
            if (answer.IsSuccessStatusCode && request.IsGrpc) await answer.Content.ReadAsByteArrayAsync(patience.Token);
            return Judge(request, answer);
        }
        catch (OperationCanceledException)
        {
            return _hasEnded.IsCancellationRequested
                ? Outcome.Later
                : Fail(Outcome.Lost, "it took the connection and did not answer within "
                    + $"{_timeout.TotalSeconds.ToString(CultureInfo.InvariantCulture)} s");
        }
        catch (Exception e) when (e is HttpRequestException or IOException)
        {
            return Fail(Outcome.Later, e.Message);
        }
    }

    private Outcome Judge(OtlpRequest request, HttpResponseMessage answer)
    {
        if (!answer.IsSuccessStatusCode)
        {
            var status = (int)answer.StatusCode;
            var reason = $"Response status code does not indicate success: {status} ({answer.ReasonPhrase}).";
            return Fail(status is 429 or 502 or 503 or 504 ? Outcome.Later : Outcome.Lost, reason);
        }

        if (!request.IsGrpc) return Outcome.Sent;
        var code = Header(answer.TrailingHeaders, "grpc-status") ?? Header(answer.Headers, "grpc-status") ?? "2";
        if (code == "0") return Outcome.Sent;
        var said = Header(answer.TrailingHeaders, "grpc-message") ?? Header(answer.Headers, "grpc-message") ?? "";
        // As OTLP names those after which a client tries again.
        return Fail(code is "1" or "4" or "8" or "10" or "11" or "14" or "15" ? Outcome.Later : Outcome.Lost,
            $"gRPC status {code}: {said}");
    }

    private static string? Header(System.Net.Http.Headers.HttpHeaders headers, string name) =>
        headers.TryGetValues(name, out var values) ? values.FirstOrDefault() : null;

    private Outcome Fail(Outcome outcome, string reason)
    {
        _reason = reason.ReplaceLineEndings(" ");
        if (_isEnding.IsCancellationRequested) return outcome; // the last line says it
        if (_saidAt is { } said && _time.GetElapsedTime(said) < SayAgainAfter) return outcome;
        _saidAt = _time.GetTimestamp();
        if (outcome == Outcome.Later) LogLater(_logger(), _place!, _reason, MostBytes >> 20);
        else LogNotTaken(_logger(), _place!, _reason);
        return outcome;
    }

    private async Task PauseAsync(TimeSpan pause)
    {
        try
        {
            await Task.Delay(pause, _time, _isEnding);
        }
        catch (OperationCanceledException)
        {
            // the end is near: one try more
        }
    }

    private enum Outcome
    {
        Sent,
        Later,
        Lost,
    }

    [LoggerMessage(522, LogLevel.Warning, "Telemetry is lost, and the work goes on without it: {Place}: {Reason}: {Count} {What} in all")]
    private static partial void LogLost(ILogger logger, string place, string reason, long count, string what);

    [LoggerMessage(524, LogLevel.Warning,
        "Telemetry waits, and the work goes on: {Place}: {Reason}: it is sent later, as much as {Mb} MB hold")]
    private static partial void LogLater(ILogger logger, string place, string reason, int mb);

    [LoggerMessage(525, LogLevel.Warning,
        "Telemetry is not taken, and the work goes on: {Place}: {Reason}: how much is lost is said at the end")]
    private static partial void LogNotTaken(ILogger logger, string place, string reason);
}
