using Orleans;
using Orleans.Runtime;

namespace FedRLora.Silo.Clustering;

/// <summary>
/// A membership table that remembers what was in it. Where this silo's row has vanished it writes it again, and where the whole table
/// is younger than one that was read before, every row that it knew: nobody who reads it then takes silos that live for lost ones. The
/// version is brought past the one that was known, since silos do not believe an older table than theirs.
/// </summary>
/// <param name="inner">The table in its store.</param>
/// <param name="self">This silo.</param>
/// <param name="isAway">Whether an exception of the table says that its store does not answer.</param>
/// <param name="time">The time.</param>
internal sealed class HealingMembershipTable(IMembershipTable inner, SiloAddress self, Func<Exception, bool> isAway, TimeProvider time)
    : IMembershipTable, IDisposable
{
    private static readonly TimeSpan HealWithin = TimeSpan.FromSeconds(20);
    private static readonly TimeSpan AfterConflict = TimeSpan.FromMilliseconds(20);
    private readonly SemaphoreSlim _healing = new(1, 1);
    private readonly Lock _memory = new();
    private Dictionary<SiloAddress, MembershipEntry> _rows = [];
    private int _version;

    /// <summary>How often rows were written again.</summary>
    public int Healed { get; private set; }

    /// <inheritdoc/>
    /// <exception cref="RowNotWrittenException">The table answers, but does not take the row back.</exception>
    public async Task<MembershipTableData> ReadAllAsync(CancellationToken cancellationToken)
    {
        var known = KnownVersion();
        var table = await ReadInnerAsync(cancellationToken);
        if (table.Version.Version >= known && !IsOwnRowLost(table)) return Remember(table);
        await _healing.WaitAsync(cancellationToken);
        try
        {
            return Remember(await HealAsync(cancellationToken));
        }
        finally
        {
            _healing.Release();
        }
    }

    /// <summary>Brings the version past one that silos know, so that they believe the table as it is.</summary>
    /// <param name="past">The version to exceed.</param>
    /// <param name="cancellationToken">The caller's token.</param>
    public async Task RaiseAsync(long past, CancellationToken cancellationToken)
    {
        while (true)
        {
            var table = await ReadAllAsync(cancellationToken);
            if (table.Version.Version > past || table.TryGet(self) is not { } own) return;
            if (!await inner.UpdateRowAsync(own.Item1, own.Item2, table.Version.Next(), cancellationToken))
                await Task.Delay(AfterConflict, time, cancellationToken);
        }
    }

    /// <inheritdoc/>
    public async Task<MembershipTableData> ReadRowAsync(SiloAddress key, CancellationToken cancellationToken)
    {
        var table = await ReadAllAsync(cancellationToken); // one row does not show what has become of the others
        return table.TryGet(key) is { } row ? new MembershipTableData(row, table.Version) : new MembershipTableData(table.Version);
    }

    /// <inheritdoc/>
    public async Task<bool> InsertRowAsync(MembershipEntry entry, TableVersion tableVersion, CancellationToken cancellationToken) =>
        Remember(entry, tableVersion, await inner.InsertRowAsync(entry, tableVersion, cancellationToken));

    /// <inheritdoc/>
    public async Task<bool> UpdateRowAsync(
        MembershipEntry entry, string etag, TableVersion tableVersion, CancellationToken cancellationToken) =>
        Remember(entry, tableVersion, await inner.UpdateRowAsync(entry, etag, tableVersion, cancellationToken));

    /// <inheritdoc/>
    public Task InitializeMembershipTableAsync(bool tryInitTableVersion, CancellationToken cancellationToken) =>
        inner.InitializeMembershipTableAsync(tryInitTableVersion, cancellationToken);

    /// <inheritdoc/>
    public Task DeleteMembershipTableEntriesAsync(string clusterId, CancellationToken cancellationToken) =>
        inner.DeleteMembershipTableEntriesAsync(clusterId, cancellationToken);

    /// <inheritdoc/>
    public Task CleanupDefunctSiloEntriesAsync(DateTimeOffset beforeDate, CancellationToken cancellationToken) =>
        inner.CleanupDefunctSiloEntriesAsync(beforeDate, cancellationToken);

    /// <inheritdoc/>
    public Task UpdateIAmAliveAsync(MembershipEntry entry, CancellationToken cancellationToken) =>
        inner.UpdateIAmAliveAsync(entry, cancellationToken);

    Task<MembershipTableData> IMembershipTable.ReadAll() => ReadAllAsync(CancellationToken.None);

    Task<MembershipTableData> IMembershipTable.ReadRow(SiloAddress key) => ReadRowAsync(key, CancellationToken.None);

    Task<bool> IMembershipTable.InsertRow(MembershipEntry entry, TableVersion tableVersion) =>
        InsertRowAsync(entry, tableVersion, CancellationToken.None);

    Task<bool> IMembershipTable.UpdateRow(MembershipEntry entry, string etag, TableVersion tableVersion) =>
        UpdateRowAsync(entry, etag, tableVersion, CancellationToken.None);

    Task IMembershipTable.InitializeMembershipTable(bool tryInitTableVersion) =>
        InitializeMembershipTableAsync(tryInitTableVersion, CancellationToken.None);

    Task IMembershipTable.DeleteMembershipTableEntries(string clusterId) =>
        DeleteMembershipTableEntriesAsync(clusterId, CancellationToken.None);

    Task IMembershipTable.CleanupDefunctSiloEntries(DateTimeOffset beforeDate) =>
        CleanupDefunctSiloEntriesAsync(beforeDate, CancellationToken.None);

    Task IMembershipTable.UpdateIAmAlive(MembershipEntry entry) => UpdateIAmAliveAsync(entry, CancellationToken.None);

    /// <inheritdoc/>
    public void Dispose()
    {
        _healing.Dispose();
        (inner as IDisposable)?.Dispose();
    }

    private async Task<MembershipTableData> HealAsync(CancellationToken cancellationToken)
    {
        var started = time.GetTimestamp();
        var whole = false; // whether the whole table was lost, and not this silo's row alone
        for (var changes = 0; ; changes++)
        {
            var known = KnownVersion(); // before the read: this silo writes to the table meanwhile
            var table = await ReadInnerAsync(cancellationToken);
            whole |= table.Version.Version < known;
            if (NextChange(table, whole) is not { } change)
            {
                if (changes > 0) Healed++;
                return table;
            }

            if (time.GetElapsedTime(started) > HealWithin) throw new RowNotWrittenException("it was changed by others each time", null);
            bool done;
            try
            {
                done = await change(cancellationToken);
            }
            catch (Exception e) when (IsRefusal(e))
            {
                throw RowNotWrittenException.Of(e);
            }

            if (!done) await Task.Delay(AfterConflict, time, cancellationToken); // another silo heals the table too
        }
    }

    // A table of Orleans cannot be read where its store came back without even a version.
    private async Task<MembershipTableData> ReadInnerAsync(CancellationToken cancellationToken)
    {
        try
        {
            return await inner.ReadAllAsync(cancellationToken);
        }
        catch (Exception e) when (IsRefusal(e) && KnownVersion() > 0)
        {
            try
            {
                await inner.InitializeMembershipTableAsync(true, cancellationToken);
            }
            catch (Exception refusal) when (IsRefusal(refusal))
            {
                throw RowNotWrittenException.Of(refusal);
            }

            return await inner.ReadAllAsync(cancellationToken);
        }
    }

    private bool IsRefusal(Exception exception) => exception is not OperationCanceledException && !isAway(exception);

    // This silo's row first, then those of the others, then the version.
    private Func<CancellationToken, Task<bool>>? NextChange(MembershipTableData table, bool whole)
    {
        MembershipEntry[] known;
        int version;
        lock (_memory) (known, version) = ([.. _rows.Values.OrderBy(row => !row.SiloAddress.Equals(self))], _version);
        var next = table.Version.Next();
        foreach (var row in known)
        {
            var own = row.SiloAddress.Equals(self);
            if (!whole && !own) continue;
            var found = table.TryGet(row.SiloAddress);
            if (found is null)
            {
                if (own && !IsUp(row)) continue; // it was about to leave
                var again = own ? Alive(row) : row;
                return token => inner.InsertRowAsync(again, next, token);
            }

            // An older copy of the table came back: what a silo has become since, it stays.
            if (whole && found.Item1.Status < row.Status) return token => inner.UpdateRowAsync(row, found.Item2, next, token);
        }

        if (!whole || table.Version.Version > version || table.Members is not [var any, ..]) return null;
        var bumped = table.TryGet(self) ?? any;
        return token => inner.UpdateRowAsync(bumped.Item1, bumped.Item2, next, token);
    }

    private bool IsOwnRowLost(MembershipTableData table)
    {
        lock (_memory) return _rows.TryGetValue(self, out var own) && IsUp(own) && table.TryGet(self) is null;
    }

    private int KnownVersion()
    {
        lock (_memory) return _version;
    }

    private MembershipTableData Remember(MembershipTableData table)
    {
        lock (_memory)
        {
            if (table.Version.Version < _version) return table;
            _rows = table.Members.ToDictionary(static row => row.Item1.SiloAddress, static row => row.Item1);
            _version = table.Version.Version;
        }

        return table;
    }

    private bool Remember(MembershipEntry entry, TableVersion version, bool written)
    {
        lock (_memory)
        {
            if (written && version.Version > _version) (_rows[entry.SiloAddress], _version) = (entry, version.Version);
        }

        return written;
    }

    private MembershipEntry Alive(MembershipEntry row) => new()
    {
        SiloAddress = row.SiloAddress, SiloName = row.SiloName, RoleName = row.RoleName, HostName = row.HostName, ProxyPort = row.ProxyPort,
        UpdateZone = row.UpdateZone, FaultZone = row.FaultZone, Status = row.Status, SuspectTimes = row.SuspectTimes,
        StartTime = row.StartTime, IAmAliveTime = time.GetUtcNow().UtcDateTime,
    };

    private static bool IsUp(MembershipEntry row) => row.Status is SiloStatus.Joining or SiloStatus.Active;
}

/// <summary>The membership answers, but this silo cannot be written into it.</summary>
internal sealed class RowNotWrittenException(string message, Exception? innerException) : Exception(message, innerException)
{
    /// <summary>With the first line of what the table said.</summary>
    public static RowNotWrittenException Of(Exception refusal) => new(refusal.Message.Split('\n', 2)[0].TrimEnd(), refusal);
}
