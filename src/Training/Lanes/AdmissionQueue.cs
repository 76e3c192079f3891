using System.Diagnostics.CodeAnalysis;

namespace FedRLora.Training.Lanes;

/// <summary>
/// Work that waits for its turn on a device. It starts when as many cores as it has threads and its memory are free; runs take turns,
/// and within a run who came first goes first. Once the longest waiting work of all does not fit, others go past it only as far as they
/// leave what it needs, so that wide work does not starve; work that asks for more than there is has the whole device, alone. Not safe
/// for threads.
/// </summary>
internal sealed class AdmissionQueue<T>
    where T : class
{
    private readonly int _cores;
    private readonly long _bytes;
    private readonly List<(string Run, Queue<Waiting> Work)> _runs = []; // the next one's turn first
    private readonly Dictionary<T, Waiting> _running = new(ReferenceEqualityComparer.Instance);
    private readonly HashSet<Waiting> _past = []; // running, and started while the longest waiting work did not fit
    private int _freeCores;
    private long _freeBytes;
    private long _arrivals;

    /// <param name="cores">That work may occupy at a time.</param>
    /// <param name="bytes">That work may occupy at a time.</param>
    public AdmissionQueue(int cores, long bytes) =>
        (_cores, _bytes, _freeCores, _freeBytes) = (cores, Math.Max(0, bytes), cores, Math.Max(0, bytes));

    /// <summary>Puts work at the end of its run's queue.</summary>
    public void Add(LaneDemand demand, T work)
    {
        var at = _runs.FindIndex(run => run.Run == demand.Run);
        if (at < 0)
        {
            at = _runs.Count;
            _runs.Add((demand.Run, new()));
        }

        // What is larger than everything takes everything.
        _runs[at].Work.Enqueue(new(
            work, Math.Clamp(demand.Threads, 1, _cores), Math.Clamp(demand.Bytes, 0, _bytes), _arrivals++));
    }

    /// <summary>Takes the work whose turn it is, if it may start now; <see cref="Free"/> follows when it has ended.</summary>
    public bool TryTake([NotNullWhen(true)] out T? work)
    {
        work = null;
        if (_runs.Count == 0) return false;
        var oldest = _runs.Select(static run => run.Work.Peek()).MinBy(static waiting => waiting.Arrival)!;
        var isKept = !Fits(oldest, _freeCores, _freeBytes);
        if (!isKept) _past.Clear();
        var (besideCores, besideBytes) = (
            _cores - oldest.Cores - _past.Sum(static past => past.Cores), _bytes - oldest.Bytes - _past.Sum(static past => past.Bytes));
        for (var i = 0; i < _runs.Count; i++)
        {
            var (run, queue) = _runs[i];
            var next = queue.Peek();
            if (!Fits(next, _freeCores, _freeBytes) || (isKept && !Fits(next, besideCores, besideBytes))) continue;
            queue.Dequeue();
            _runs.RemoveAt(i);
            if (queue.Count > 0) _runs.Add((run, queue));
            (_freeCores, _freeBytes) = (_freeCores - next.Cores, _freeBytes - next.Bytes);
            _running.Add(next.Work, next);
            if (isKept) _past.Add(next);
            work = next.Work;
            return true;
        }

        return false;
    }

    /// <summary>Whether work waits.</summary>
    public bool IsAnyWaiting => _runs.Count > 0;

    /// <summary>Starts work that is in no queue, on cores that nobody has; <see cref="Free"/> follows when it has ended.</summary>
    public bool TryOccupy(int threads, T work)
    {
        var cores = Math.Clamp(threads, 1, _cores);
        if (cores > _freeCores) return false;
        _freeCores -= cores;
        _running.Add(work, new(work, cores, Bytes: 0, Arrival: -1));
        return true;
    }

    /// <summary>Gives back what work had that was taken.</summary>
    public void Free(T work)
    {
        _running.Remove(work, out var ended);
        _past.Remove(ended!);
        (_freeCores, _freeBytes) = (_freeCores + ended!.Cores, _freeBytes + ended.Bytes);
    }

    /// <summary>Pieces of work that run, and that wait.</summary>
    public (int Running, int Waiting) Load => (_running.Count, _runs.Sum(static run => run.Work.Count));

    /// <summary>Takes work out that still waits; false where it does not.</summary>
    public bool Remove(T work)
    {
        var at = _runs.FindIndex(run => run.Work.Any(waiting => waiting.Work == work));
        if (at < 0) return false;
        var rest = new Queue<Waiting>(_runs[at].Work.Where(waiting => waiting.Work != work));
        if (rest.Count == 0) _runs.RemoveAt(at);
        else _runs[at] = _runs[at] with { Work = rest };
        return true;
    }

    /// <summary>Takes everything out that waits.</summary>
    public IReadOnlyList<T> Clear()
    {
        var waiting = _runs.SelectMany(static run => run.Work).OrderBy(static waiting => waiting.Arrival);
        T[] left = [.. waiting.Select(static waiting => waiting.Work)];
        _runs.Clear();
        return left;
    }

    private static bool Fits(Waiting waiting, int freeCores, long freeBytes) => waiting.Cores <= freeCores && waiting.Bytes <= freeBytes;

    private sealed record Waiting(T Work, int Cores, long Bytes, long Arrival);
}
