using System.Collections.Frozen;
using System.Text;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;
using FedRLora.Abstractions.Tensors;

namespace FedRLora.Grains.Store;

/// <summary>A plan with its clients by id.</summary>
public sealed class IndexedPlan(FederationPlan plan)
{
    private readonly FrozenDictionary<string, ClientSpec> _clients =
        plan.Clients.ToFrozenDictionary(static client => client.Id, StringComparer.Ordinal);

    /// <summary>The plan.</summary>
    public FederationPlan Plan => plan;

    /// <summary>A client of the plan.</summary>
    public ClientSpec Client(string id) => _clients[id];

    /// <summary>Whether a client is in the plan, and of that site.</summary>
    public bool IsOf(string site, string client) => _clients.TryGetValue(client, out var found) && found.Site == site;
}

/// <summary>
/// What every client of a silo reads in a round: the plan and the shared state, each read once and kept while it is recent.
/// </summary>
/// <param name="stores">Where they lie.</param>
/// <param name="settings">The silo's; null for those of a silo that was told nothing.</param>
public sealed class SiloCache(IBlobStores stores, GrainSettings? settings = null) : IDisposable
{
    private const int Most = 4;
    private const int KeptOfTasks = 16; // a silo may have clients of several tasks at work
    private const int KeptOfRounds = 2; // what is committed, and the candidate that may take its place

    // Of a job: twice as many as a device trains side by side, so that the next ones load meanwhile.
    private readonly int _places = Math.Max(16, 2 * (settings?.Lanes ?? Environment.ProcessorCount));

    private readonly Dictionary<string, (SemaphoreSlim Places, int Users)> _turns = new(StringComparer.Ordinal);
    private readonly Lock _gate = new();
    private readonly List<Kept<IndexedPlan>> _plans = [];
    private readonly List<Kept<AdapterState>> _states = [];
    private readonly List<Kept<AdapterState>> _ofTasks = [];

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

    /// <summary>The state of a task at a reference.</summary>
    public Task<AdapterState> OfTaskAsync(BlobRef blob, CancellationToken cancellationToken) =>
        GetAsync(_ofTasks, blob, () => stores.Job.ReadStateAsync(blob, CancellationToken.None), cancellationToken, KeptOfTasks);

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
    /// Waits for one of a job's few places at work on this silo: the next groups' heads and rows load while others train, and a thousand
    /// clients do not hold theirs at once. One job's clients do not wait for another's here: whose work the device takes first is its
    /// queue's. Dispose it to give the place back.
    /// </summary>
    public async Task<IDisposable> TurnAsync(string job, CancellationToken cancellationToken)
    {
        SemaphoreSlim places;
        lock (_gate)
        {
            var (known, users) = _turns.GetValueOrDefault(job);
            places = known ?? new(_places);
            _turns[job] = (places, users + 1);
        }

        try
        {
            await places.WaitAsync(cancellationToken);
        }
        catch
        {
            Leave(job, hadPlace: false);
            throw;
        }

        return new Turn(() => Leave(job, hadPlace: true));
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        lock (_gate)
        {
            foreach (var (places, _) in _turns.Values) places.Dispose();
            _turns.Clear();
        }
    }

    private void Leave(string job, bool hadPlace)
    {
        lock (_gate)
        {
            if (!_turns.TryGetValue(job, out var turn)) return; // disposed meanwhile
            if (hadPlace) turn.Places.Release();
            if (turn.Users > 1) _turns[job] = turn with { Users = turn.Users - 1 };
            else if (_turns.Remove(job)) turn.Places.Dispose();
        }
    }

    private sealed class Turn(Action leave) : IDisposable
    {
        private Action? _leave = leave;

        public void Dispose() => Interlocked.Exchange(ref _leave, null)?.Invoke();
    }

    private async Task<T> GetAsync<T>(
        List<Kept<T>> kept, BlobRef blob, Func<Task<T>> read, CancellationToken cancellationToken, int most = Most)
    {
        Task<T> value;
        lock (_gate)
        {
            kept.RemoveAll(static entry => entry.Value.IsFaulted || entry.Value.IsCanceled);
            var found = kept.FindIndex(entry => entry.Sha256 == blob.Sha256);
            value = found >= 0 ? kept[found].Value : Task.Run(read, CancellationToken.None);
            if (found < 0) Add(kept, blob, value, most);
        }

        return await value.WaitAsync(cancellationToken);
    }

    // Beside the oldest, those go that a later round has replaced: of a run with large states two are held, not as many as have room.
    private static void Add<T>(List<Kept<T>> kept, BlobRef blob, Task<T> value, int most = Most)
    {
        var (of, round) = OriginOf(blob);
        var replaced = kept.Where(entry => of is not null && entry.Of == of).OrderByDescending(static entry => entry.Round)
            .Skip(KeptOfRounds - 1).ToHashSet();
        kept.RemoveAll(replaced.Contains);
        kept.Add(new(blob.Sha256, of, round, value));
        if (kept.Count > most) kept.RemoveAt(0);
    }

    // What it is of a job, which every round may have anew; null for a blob of no round.
    private static (string? Of, int Round) OriginOf(BlobRef blob)
    {
        const string Rounds = "/rounds/";
        var prefix = blob.Key[..(blob.Key.IndexOf(Rounds, StringComparison.Ordinal) + Rounds.Length)];
        return Keys.RoundOf(blob.Key, prefix) is { } round
            ? (prefix + blob.Key[(blob.Key.LastIndexOf('/') + 1)..].Replace(blob.Sha256, "", StringComparison.Ordinal), round)
            : (null, 0);
    }

    private sealed record Kept<T>(string Sha256, string? Of, int Round, Task<T> Value);
}
