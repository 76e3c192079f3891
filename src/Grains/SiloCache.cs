using System.Collections.Frozen;
using System.Text;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;
using FedRLora.Abstractions.Tensors;

namespace FedRLora.Grains;

/// <summary>A plan with its clients by id.</summary>
public sealed class IndexedPlan(FederationPlan plan)
{
    private readonly FrozenDictionary<string, ClientSpec> _clients = plan.Clients.ToFrozenDictionary(static client => client.Id, StringComparer.Ordinal);

    /// <summary>The plan.</summary>
    public FederationPlan Plan => plan;

    /// <summary>A client of the plan.</summary>
    public ClientSpec Client(string id) => _clients[id];
}

/// <summary>What every client of a silo reads in a round: the plan and the shared state, each read once and kept while it is recent.</summary>
public sealed class SiloCache(IBlobStores stores) : IDisposable
{
    private const int Kept = 4;
    private const int AtWork = 16;
    private readonly SemaphoreSlim _turns = new(AtWork);
    private readonly Lock _gate = new();
    private readonly List<(string Sha256, Task<IndexedPlan> Value)> _plans = [];
    private readonly List<(string Sha256, Task<AdapterState> Value)> _states = [];

    /// <summary>The plan at a reference.</summary>
    public Task<IndexedPlan> PlanAsync(BlobRef blob, CancellationToken cancellationToken) =>
        GetAsync(_plans, blob, async () =>
        {
            var bytes = await stores.Job.ReadBytesAsync(blob, CancellationToken.None);
            return new IndexedPlan(PlanReader.Require(Encoding.UTF8.GetString(bytes), blob.Key));
        }, cancellationToken);

    /// <summary>The shared state at a reference.</summary>
    public Task<AdapterState> SharedAsync(BlobRef blob, CancellationToken cancellationToken) =>
        GetAsync(_states, blob, () => stores.Job.ReadStateAsync(blob, CancellationToken.None), cancellationToken);

    /// <summary>Keeps a shared state that was just written as <paramref name="blob"/>, so that this silo need not read it.</summary>
    public void Keep(BlobRef blob, AdapterState state)
    {
        lock (_gate)
        {
            _states.RemoveAll(entry => entry.Sha256 == blob.Sha256);
            Add(_states, blob, Task.FromResult(state));
        }
    }

    /// <summary>
    /// Waits for one of a silo's few places at work: the next groups' heads and rows load while one trains, and a thousand clients
    /// do not hold theirs at once. Dispose it to give the place back.
    /// </summary>
    public async Task<IDisposable> TurnAsync(CancellationToken cancellationToken)
    {
        await _turns.WaitAsync(cancellationToken);
        return new Turn(_turns);
    }

    /// <inheritdoc/>
    public void Dispose() => _turns.Dispose();

    private sealed class Turn(SemaphoreSlim turns) : IDisposable
    {
        private SemaphoreSlim? _turns = turns;

        public void Dispose() => Interlocked.Exchange(ref _turns, null)?.Release();
    }

    private async Task<T> GetAsync<T>(List<(string Sha256, Task<T> Value)> kept, BlobRef blob, Func<Task<T>> read, CancellationToken cancellationToken)
    {
        Task<T> value;
        lock (_gate)
        {
            kept.RemoveAll(static entry => entry.Value.IsFaulted || entry.Value.IsCanceled);
            var found = kept.FindIndex(entry => entry.Sha256 == blob.Sha256);
            value = found >= 0 ? kept[found].Value : Task.Run(read, CancellationToken.None);
            if (found < 0) Add(kept, blob, value);
        }

        return await value.WaitAsync(cancellationToken);
    }

    private static void Add<T>(List<(string Sha256, Task<T> Value)> kept, BlobRef blob, Task<T> value)
    {
        kept.Add((blob.Sha256, value));
        if (kept.Count > Kept) kept.RemoveAt(0);
    }
}
