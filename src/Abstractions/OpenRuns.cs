using System.Collections.Concurrent;
using System.Diagnostics.Metrics;

namespace FedRLora.Abstractions;

/// <summary>Where a run stands, as its gauges say it.</summary>
/// <param name="Round">The open round.</param>
/// <param name="Committed">The last committed round; -1 before round 0.</param>
/// <param name="Waiting">Clients that the open phase waits for.</param>
/// <param name="AbsentSites">Sites without a live silo.</param>
/// <param name="Phase">One of <see cref="OpenRuns.Phases"/>.</param>
/// <param name="LastCommit">When it last committed a round, was begun, resumed or taken up here.</param>
public readonly record struct RunNow(int Round, int Committed, int Waiting, int AbsentSites, string Phase, DateTimeOffset LastCommit);

/// <summary>A client's last numbers, as its own gauges say them.</summary>
/// <param name="Client">The client.</param>
/// <param name="Seconds">From its work being sent to its report.</param>
/// <param name="Loss">Mean loss of its last training.</param>
/// <param name="Score">Its last score.</param>
public readonly record struct ClientLast(string Client, double? Seconds, double? Loss, double? Score);

/// <summary>
/// The runs that this process coordinates, for their gauges: a gauge goes when its run is over, or is coordinated elsewhere.
/// </summary>
public static class OpenRuns
{
    private static readonly ConcurrentDictionary<Entry, bool> Entries = new(); // two activations may hold one run for a moment

    /// <summary>Phases that a run which is not over can be in.</summary>
    public static IReadOnlyList<string> Phases { get; } =
        ["idle", "train", "confirm", "aggregate", "evaluate", "commit", "paused"];

    /// <summary>A run is over: nothing more is measured of it.</summary>
    public static event Action<string>? Over;

    /// <summary>Measures a run until the result is disposed.</summary>
    /// <param name="run">Its name.</param>
    /// <param name="now">Where it stands, from any thread; null where there is nothing to say of it.</param>
    /// <param name="clients">Clients that have series of their own, with their last numbers, from any thread.</param>
    public static IDisposable Add(string run, Func<RunNow?> now, Func<IEnumerable<ClientLast>> clients)
    {
        var entry = new Entry(run, now, clients);
        Entries.TryAdd(entry, true);
        return entry;
    }

    /// <summary>Says that a run is over.</summary>
    public static void End(string run) => Over?.Invoke(run);

    internal static IEnumerable<Measurement<long>> Measure(Func<RunNow, long> value) =>
        from entry in Entries.Keys
        let now = entry.Now()
        where now is not null
        select new Measurement<long>(value(now.Value), Telemetry.Of(Telemetry.Run, entry.Run));

    internal static IEnumerable<Measurement<long>> MeasurePhases() =>
        from entry in Entries.Keys
        let now = entry.Now()
        where now is not null
        from phase in Phases
        select new Measurement<long>(
            phase == now.Value.Phase ? 1 : 0, Telemetry.Of(Telemetry.Run, entry.Run), Telemetry.Of(Telemetry.Phase, phase));

    internal static IEnumerable<Measurement<double>> MeasureClients(Func<ClientLast, double?> value) =>
        from entry in Entries.Keys
        where entry.Now() is not null
        from client in entry.Clients()
        let number = value(client)
        where number is not null
        select new Measurement<double>(
            number.Value, Telemetry.Of(Telemetry.Run, entry.Run), Telemetry.Of(Telemetry.Client, client.Client));

    private sealed class Entry(string run, Func<RunNow?> now, Func<IEnumerable<ClientLast>> clients) : IDisposable
    {
        public string Run => run;

        public Func<RunNow?> Now => now;

        public Func<IEnumerable<ClientLast>> Clients => clients;

        public void Dispose() => Entries.TryRemove(this, out _);
    }
}
