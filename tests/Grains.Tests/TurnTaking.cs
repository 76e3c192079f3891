using System.Collections.Concurrent;
using System.Runtime.CompilerServices;
using System.Security.Cryptography;
using System.Threading.Channels;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Ports;

namespace FedRLora.Grains.Tests;

/// <summary>
/// Several workers on one store in memory, of whom one at a time makes one operation: whose turn it is, a test decides. What a
/// worker does between two operations is its own, so the orders of the operations are all that can happen.
/// </summary>
internal sealed class TurnTaking
{
    private readonly ConcurrentDictionary<string, (byte[] Bytes, int Version)> _blobs = new(StringComparer.Ordinal);
    private readonly Channel<int> _stopped = Channel.CreateUnbounded<int>(); // who waits for a turn or is done
    private readonly Dictionary<int, TaskCompletionSource> _waiting = [];
    private int _version;

    /// <summary>What is stored under a key; null where nothing is.</summary>
    public byte[]? Blob(string key) => _blobs.TryGetValue(key, out var blob) ? blob.Bytes : null;

    /// <summary>The store as nobody's turn is needed for it.</summary>
    public IBlobStore Store => new View(this, null);

    /// <summary>Runs the workers to their ends.</summary>
    /// <param name="workers">Each with its store.</param>
    /// <param name="choose">Given how many wait, the one to go on.</param>
    /// <param name="afterEach">Called after each operation.</param>
    public async Task RunAsync(IReadOnlyList<Func<IBlobStore, Task>> workers, Func<int, int> choose, Action afterEach)
    {
        var running = workers.Select((work, id) => Task.Run(async () =>
        {
            try
            {
                await work(new View(this, id));
            }
            finally
            {
                _stopped.Writer.TryWrite(id);
            }
        })).ToArray();
        foreach (var _ in workers) await _stopped.Reader.ReadAsync();
        while (true)
        {
            TaskCompletionSource turn;
            lock (_waiting)
            {
                if (_waiting.Count == 0) break;
                var id = _waiting.Keys.Order().ElementAt(choose(_waiting.Count));
                _waiting.Remove(id, out turn!);
            }

            turn.SetResult();
            await _stopped.Reader.ReadAsync();
            afterEach();
        }

        await Task.WhenAll(running);
    }

    private async Task TurnAsync(int? id)
    {
        if (id is not { } worker) return;
        var turn = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        lock (_waiting) _waiting.Add(worker, turn);
        _stopped.Writer.TryWrite(worker);
        await turn.Task;
    }

    private sealed class View(TurnTaking turns, int? id) : IBlobStore
    {
        public async Task<WrittenBlob> WriteAsync(
            string key, Func<Stream, CancellationToken, Task> content, WriteCondition condition,
            CancellationToken cancellationToken = default)
        {
            using var bytes = new MemoryStream();
            await content(bytes, cancellationToken);
            await turns.TurnAsync(id);
            var version = turns._blobs.TryGetValue(key, out var there) ? $"{there.Version}" : null;
            if ((condition.IfNoneMatch && version is not null) || (condition.IfMatch is { } etag && etag != version))
                throw new BlobConflictException(key);
            turns._blobs[key] = (bytes.ToArray(), ++turns._version);
            return new WrittenBlob(new BlobRef(key, Convert.ToHexStringLower(SHA256.HashData(bytes.ToArray())), bytes.Length),
                $"{turns._version}");
        }

        public async Task<OpenedBlob?> OpenAsync(string key, CancellationToken cancellationToken = default)
        {
            if (!key.Contains("/updates/", StringComparison.Ordinal)) await turns.TurnAsync(id); // those a coordinator reads side by side
            return turns._blobs.TryGetValue(key, out var blob)
                ? new OpenedBlob(new MemoryStream(blob.Bytes), () => $"{blob.Version}", blob.Bytes.Length) : null;
        }

        public async IAsyncEnumerable<string> ListAsync(
            string prefix, [EnumeratorCancellation] CancellationToken cancellationToken = default)
        {
            await turns.TurnAsync(id);
            foreach (var key in turns._blobs.Keys.Where(key => key.StartsWith(prefix, StringComparison.Ordinal))
                .Order(StringComparer.Ordinal)) yield return key;
        }

        public async Task DeleteAsync(string key, CancellationToken cancellationToken = default)
        {
            await turns.TurnAsync(id);
            turns._blobs.TryRemove(key, out _);
        }

        public async Task DeleteAllAsync(string prefix, CancellationToken cancellationToken = default)
        {
            await turns.TurnAsync(id);
            foreach (var key in turns._blobs.Keys.Where(key => key.StartsWith(prefix, StringComparison.Ordinal)))
                turns._blobs.TryRemove(key, out _);
        }

        public Task MakeDurableAsync(CancellationToken cancellationToken = default) => turns.TurnAsync(id);
    }
}

/// <summary>
/// Every sequence of choices, one after the other: each run answers <see cref="Choose"/>, then asks for the <see cref="Next"/>.
/// </summary>
internal sealed class EveryChoice
{
    private readonly List<(int Chosen, int Of)> _path = [];
    private int _step;

    /// <summary>The choice of this run at this step.</summary>
    public int Choose(int of)
    {
        if (_step == _path.Count) _path.Add((0, of));
        return _path[_step++].Chosen;
    }

    /// <summary>Goes on to the next sequence; false where there is none.</summary>
    public bool Next()
    {
        _step = 0;
        while (_path.Count > 0 && _path[^1] is var (chosen, of))
        {
            _path.RemoveAt(_path.Count - 1);
            if (chosen + 1 >= of) continue;
            _path.Add((chosen + 1, of));
            return true;
        }

        return false;
    }
}
