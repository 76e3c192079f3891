using System.Threading.Channels;
using FedRLora.Federation.Rounds;

namespace FedRLora.Grains.Coordination;

/// <summary>What waits for the event loop of one activation, in the order it came. Everybody posts; one loop reads.</summary>
internal sealed class EventQueue : IDisposable
{
    private readonly Channel<Item> _items = Channel.CreateUnbounded<Item>();
    private readonly CancellationTokenSource _stopping = new();
    private CancellationTokenSource _interrupted = new();

    public EventQueue() => Stopping = _stopping.Token;

    /// <summary>Cancelled when the activation goes away.</summary>
    public CancellationToken Stopping { get; }

    /// <summary>
    /// Cancelled while somebody's pause or cancellation waits: a call to a site that does not answer is not to keep it waiting.
    /// </summary>
    public CancellationToken Interrupted => _interrupted.Token;

    /// <summary>Puts an event into the queue; after <see cref="StopAsync"/> it is nobody's.</summary>
    public void Post(RoundEvent happened)
    {
        if (happened is RoundEvent.Cancelled or RoundEvent.Paused) _ = _interrupted.CancelAsync(); // before a loop that waits could read it
        _items.Writer.TryWrite(new(happened, null));
    }

    /// <summary>Has the job resumed in its turn: a pause may be on its way.</summary>
    public void Resume(Resumption resumption) => _items.Writer.TryWrite(new(null, resumption));

    /// <summary>Waits for something, and takes what is there up to the first resumption; null when nothing comes any more.</summary>
    public async Task<(IReadOnlyList<RoundEvent> Happened, Resumption? Resumption)?> TakeAsync()
    {
        if (!await _items.Reader.WaitToReadAsync(Stopping)) return null;
        if (_interrupted.IsCancellationRequested) _interrupted = new(); // the old one may still be telling
        var happened = new List<RoundEvent>();
        while (_items.Reader.TryRead(out var item))
        {
            if (item.Resumption is { } resumption) return (happened, resumption);
            happened.Add(item.Happened!);
        }

        return (happened, null);
    }

    /// <summary>Ends the loop and what it does; what was persisted is where the next activation goes on.</summary>
    public async Task StopAsync()
    {
        await _stopping.CancelAsync();
        _items.Writer.TryComplete();
    }

    public void Dispose()
    {
        _stopping.Dispose();
        _interrupted.Dispose();
    }

    private readonly record struct Item(RoundEvent? Happened, Resumption? Resumption);
}

/// <summary>Somebody wants the job to go on.</summary>
/// <param name="AcceptsInputs">
/// Whether other inputs are allowed. They are accepted by the loop that commits, so that no round comes between.
/// </param>
internal sealed record Resumption(bool AcceptsInputs);
