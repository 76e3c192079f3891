using System.Globalization;
using System.Net;
using FedRLora.Silo.Clustering;
using Orleans;
using Orleans.Runtime;

namespace FedRLora.EndToEnd.Tests.Clustering;

/// <summary>A membership table that comes back empty, or refuses, under silos that remember it.</summary>
public sealed class HealingMembershipTableTests : IDisposable
{
    private static readonly SiloAddress North = SiloAddress.New(new IPEndPoint(IPAddress.Loopback, 11111), 1);
    private static readonly SiloAddress South = SiloAddress.New(new IPEndPoint(IPAddress.Loopback, 11112), 2);
    private static readonly SiloAddress East = SiloAddress.New(new IPEndPoint(IPAddress.Loopback, 11113), 3);
    private readonly MemoryTable _store = new();
    private readonly HealingMembershipTable _north;
    private readonly HealingMembershipTable _south;

    public HealingMembershipTableTests() => (_north, _south) = (Table(North), Table(South));

    [Fact]
    public async Task An_empty_table_is_written_again_by_the_first_that_reads_it()
    {
        var before = await JoinAsync();
        _store.Clear();

        var table = await _north.ReadAllAsync(CancellationToken.None);

        Assert.Equal([North, South], Addresses(table));
        Assert.All(table.Members, static row => Assert.Equal(SiloStatus.Active, row.Item1.Status));
        Assert.True(table.Version.Version > before, $"silos that know version {before} do not believe version {table.Version.Version}");
        Assert.Equal((1, 0), (_north.Healed, _south.Healed));
    }

    [Fact]
    public async Task All_may_write_it_again_at_once()
    {
        var before = await JoinAsync();
        _store.Clear();

        var tables = await Task.WhenAll(_north.ReadAllAsync(CancellationToken.None), _south.ReadAllAsync(CancellationToken.None));

        Assert.All(tables, table => Assert.Equal([North, South], Addresses(table)));
        Assert.All(tables, table => Assert.True(table.Version.Version > before));
    }

    [Fact]
    public async Task A_silo_that_joins_an_empty_table_is_kept_and_sees_the_others()
    {
        await JoinAsync();
        _store.Clear();
        using var east = Table(East);
        await east.InitializeMembershipTableAsync(true, CancellationToken.None);
        await WriteAsync(east, East, SiloStatus.Joining);

        await _south.ReadAllAsync(CancellationToken.None);

        Assert.Equal([North, South, East], Addresses(await east.ReadAllAsync(CancellationToken.None)));
    }

    [Fact]
    public async Task A_row_that_alone_has_vanished_is_written_again_and_no_other()
    {
        await JoinAsync();
        await _north.ReadAllAsync(CancellationToken.None);
        _store.Remove(North);
        _store.Remove(South);

        Assert.Equal([North], Addresses(await _north.ReadAllAsync(CancellationToken.None)));
        Assert.Equal([North, South], Addresses(await _south.ReadAllAsync(CancellationToken.None)));
    }

    [Fact]
    public async Task One_that_was_declared_dead_stays_dead_when_the_table_comes_back_empty()
    {
        await JoinAsync();
        await WriteAsync(_north, South, SiloStatus.Dead);
        _store.Clear();

        await _north.ReadAllAsync(CancellationToken.None);

        Assert.Equal(SiloStatus.Dead, (await _south.ReadAllAsync(CancellationToken.None)).TryGet(South)!.Item1.Status);
    }

    [Fact]
    public async Task An_older_copy_of_the_table_is_brought_up_to_date()
    {
        await WriteAsync(_north, North, SiloStatus.Active);
        await WriteAsync(_south, South, SiloStatus.Joining);
        var old = _store.Copy();
        await WriteAsync(_south, South, SiloStatus.Active);
        await WriteAsync(_north, North, SiloStatus.Active);
        await _north.ReadAllAsync(CancellationToken.None);
        _store.Replace(old);

        var table = await _north.ReadAllAsync(CancellationToken.None);

        Assert.Equal(SiloStatus.Active, table.TryGet(South)!.Item1.Status);
    }

    [Fact]
    public async Task A_silo_that_leaves_is_not_written_again()
    {
        await JoinAsync();
        await WriteAsync(_north, North, SiloStatus.ShuttingDown);
        _store.Remove(North);

        Assert.Equal([South], Addresses(await _north.ReadAllAsync(CancellationToken.None)));
    }

    [Fact]
    public async Task A_version_is_brought_past_one_that_silos_know_and_no_row_changes()
    {
        var before = await JoinAsync();

        await Task.WhenAll(_north.RaiseAsync(before + 3, CancellationToken.None), _south.RaiseAsync(before + 3, CancellationToken.None));

        var table = await _north.ReadAllAsync(CancellationToken.None);
        Assert.Equal(before + 4, table.Version.Version);
        Assert.Equal([North, South], Addresses(table));
        Assert.All(table.Members, static row => Assert.Equal(SiloStatus.Active, row.Item1.Status));
    }

    [Fact]
    public async Task A_table_that_answers_and_takes_no_row_is_told_from_one_that_is_away()
    {
        await JoinAsync();
        _store.Clear();
        _store.Refusal = "READONLY You can't write against a read only replica.";

        var refused = await Assert.ThrowsAsync<RowNotWrittenException>(() => _north.ReadAllAsync(CancellationToken.None));
        _store.Away = true;
        await Assert.ThrowsAsync<TimeoutException>(() => _north.ReadAllAsync(CancellationToken.None));
        (_store.Refusal, _store.Away) = (null, false);

        await _north.ReadAllAsync(CancellationToken.None);
        _store.Remove(North);
        _store.Refusal = "NOPERM";
        var alone = await Assert.ThrowsAsync<RowNotWrittenException>(() => _north.ReadAllAsync(CancellationToken.None));
        _store.Refusal = null;

        Assert.Equal(("READONLY You can't write against a read only replica.", "NOPERM"), (refused.Message, alone.Message));
        Assert.Equal([North, South], Addresses(await _north.ReadAllAsync(CancellationToken.None)));
    }

    public void Dispose()
    {
        _north.Dispose();
        _south.Dispose();
    }

    private HealingMembershipTable Table(SiloAddress self) => new(_store, self, static e => e is TimeoutException, TimeProvider.System);

    /// <summary>Both silos join; returns the version of the table.</summary>
    private async Task<int> JoinAsync()
    {
        foreach (var status in new[] { SiloStatus.Joining, SiloStatus.Active })
        {
            await WriteAsync(_north, North, status);
            await WriteAsync(_south, South, status);
        }

        await _south.ReadAllAsync(CancellationToken.None);
        return (await _north.ReadAllAsync(CancellationToken.None)).Version.Version;
    }

    private static async Task WriteAsync(HealingMembershipTable table, SiloAddress silo, SiloStatus status)
    {
        await table.InitializeMembershipTableAsync(true, CancellationToken.None);
        var found = await table.ReadAllAsync(CancellationToken.None);
        var entry = new MembershipEntry { SiloAddress = silo, Status = status, SiloName = $"{silo}", SuspectTimes = [] };
        Assert.True(found.TryGet(silo) is { } row
            ? await table.UpdateRowAsync(entry, row.Item2, found.Version.Next(), CancellationToken.None)
            : await table.InsertRowAsync(entry, found.Version.Next(), CancellationToken.None));
    }

    private static IEnumerable<SiloAddress> Addresses(MembershipTableData table) =>
        table.Members.Select(static row => row.Item1.SiloAddress).Order();

    /// <summary>As a table in Redis: without a version it cannot be read or written, and each write names the version before it.</summary>
    private sealed class MemoryTable : IMembershipTable
    {
        private readonly Lock _gate = new();
        private Dictionary<SiloAddress, MembershipEntry> _rows = [];
        private int? _version;

        public string? Refusal { get; set; }

        public bool Away { get; set; }

        public void Clear() => Replace(([], null));

        public void Remove(SiloAddress silo)
        {
            lock (_gate) _rows.Remove(silo);
        }

        public (Dictionary<SiloAddress, MembershipEntry> Rows, int? Version) Copy()
        {
            lock (_gate) return (new(_rows), _version);
        }

        public void Replace((Dictionary<SiloAddress, MembershipEntry> Rows, int? Version) content)
        {
            lock (_gate) (_rows, _version) = content;
        }

        public Task InitializeMembershipTable(bool tryInitTableVersion)
        {
            if (Refusal is { } refusal) throw new InvalidOperationException(refusal);
            lock (_gate) _version ??= 0;
            return Task.CompletedTask;
        }

        public Task<MembershipTableData> ReadAll()
        {
            if (Away) throw new TimeoutException("away");
            lock (_gate)
            {
                var version = _version ?? throw new InvalidOperationException("The version is missing.");
                var rows = _rows.Values.Select(row => Tuple.Create(row, Tag(version))).ToList();
                return Task.FromResult(new MembershipTableData(rows, new TableVersion(version, Tag(version))));
            }
        }

        public Task<bool> InsertRow(MembershipEntry entry, TableVersion tableVersion) =>
            Task.FromResult(Write(entry, tableVersion, insert: true));

        public Task<bool> UpdateRow(MembershipEntry entry, string etag, TableVersion tableVersion) =>
            Task.FromResult(Write(entry, tableVersion, insert: false));

        public Task<MembershipTableData> ReadRow(SiloAddress key) => throw new NotSupportedException();

        public Task UpdateIAmAlive(MembershipEntry entry) => Task.CompletedTask;

        public Task DeleteMembershipTableEntries(string clusterId) => throw new NotSupportedException();

        public Task CleanupDefunctSiloEntries(DateTimeOffset beforeDate) => throw new NotSupportedException();

        private bool Write(MembershipEntry entry, TableVersion tableVersion, bool insert)
        {
            if (Refusal is { } refusal) throw new InvalidOperationException(refusal);
            lock (_gate)
            {
                if (_version != tableVersion.Version - 1 || _rows.ContainsKey(entry.SiloAddress) == insert) return false;
                (_rows[entry.SiloAddress], _version) = (entry, tableVersion.Version);
                return true;
            }
        }

        private static string Tag(int version) => version.ToString(CultureInfo.InvariantCulture);
    }
}
