using System.Globalization;
using Orleans.Runtime;

namespace FedRLora.Grains.Tests.Tls;

/// <summary>A membership table outside the silos, in memory.</summary>
internal sealed class SharedTable : IMembershipTable
{
    private readonly Lock _lock = new();
    private readonly Dictionary<SiloAddress, (MembershipEntry Entry, int Tag)> _rows = [];
    private int _version;

    /// <summary>Writes a row as somebody would who has the credentials of the store.</summary>
    public void Claim(SiloAddress silo, string name, SiloStatus status, DateTime at)
    {
        lock (_lock)
        {
            _version++;
            _rows[silo] = (new MembershipEntry
            {
                SiloAddress = silo, SiloName = name, HostName = "elsewhere", Status = status, SuspectTimes = [], StartTime = at,
                IAmAliveTime = at,
            }, _version);
        }
    }

    /// <summary>What a silo is by its row; null where there is none.</summary>
    public SiloStatus? StatusOf(SiloAddress silo)
    {
        lock (_lock) return _rows.TryGetValue(silo, out var row) ? row.Entry.Status : null;
    }

    public Task InitializeMembershipTableAsync(bool tryInitTableVersion, CancellationToken cancellationToken) => Task.CompletedTask;

    public Task DeleteMembershipTableEntriesAsync(string clusterId, CancellationToken cancellationToken) => Task.CompletedTask;

    public Task CleanupDefunctSiloEntriesAsync(DateTimeOffset beforeDate, CancellationToken cancellationToken) => Task.CompletedTask;

    public Task<MembershipTableData> ReadAllAsync(CancellationToken cancellationToken)
    {
        lock (_lock)
            return Task.FromResult(new MembershipTableData(
                [.. _rows.Values.Select(static row => Tuple.Create(Copy(row.Entry), Text(row.Tag)))],
                new TableVersion(_version, Text(_version))));
    }

    public Task<MembershipTableData> ReadRowAsync(SiloAddress key, CancellationToken cancellationToken)
    {
        lock (_lock)
        {
            var version = new TableVersion(_version, Text(_version));
            return Task.FromResult(_rows.TryGetValue(key, out var row)
                ? new MembershipTableData(Tuple.Create(Copy(row.Entry), Text(row.Tag)), version)
                : new MembershipTableData(version));
        }
    }

    public Task<bool> InsertRowAsync(MembershipEntry entry, TableVersion tableVersion, CancellationToken cancellationToken)
    {
        lock (_lock)
            return Task.FromResult(!_rows.ContainsKey(entry.SiloAddress) && Write(entry, tableVersion));
    }

    public Task<bool> UpdateRowAsync(
        MembershipEntry entry, string etag, TableVersion tableVersion, CancellationToken cancellationToken)
    {
        lock (_lock)
            return Task.FromResult(
                _rows.TryGetValue(entry.SiloAddress, out var row) && Text(row.Tag) == etag && Write(entry, tableVersion));
    }

    public Task UpdateIAmAliveAsync(MembershipEntry entry, CancellationToken cancellationToken)
    {
        lock (_lock)
        {
            if (_rows.TryGetValue(entry.SiloAddress, out var row)) row.Entry.IAmAliveTime = entry.IAmAliveTime;
        }

        return Task.CompletedTask;
    }

    Task<MembershipTableData> IMembershipTable.ReadAll() => ReadAllAsync(CancellationToken.None);

    Task<MembershipTableData> IMembershipTable.ReadRow(SiloAddress key) => ReadRowAsync(key, CancellationToken.None);

    Task<bool> IMembershipTable.InsertRow(MembershipEntry entry, TableVersion tableVersion) =>
        InsertRowAsync(entry, tableVersion, CancellationToken.None);

    Task<bool> IMembershipTable.UpdateRow(MembershipEntry entry, string etag, TableVersion tableVersion) =>
        UpdateRowAsync(entry, etag, tableVersion, CancellationToken.None);

    Task IMembershipTable.InitializeMembershipTable(bool tryInitTableVersion) => Task.CompletedTask;

    Task IMembershipTable.DeleteMembershipTableEntries(string clusterId) => Task.CompletedTask;

    Task IMembershipTable.CleanupDefunctSiloEntries(DateTimeOffset beforeDate) => Task.CompletedTask;

    Task IMembershipTable.UpdateIAmAlive(MembershipEntry entry) => UpdateIAmAliveAsync(entry, CancellationToken.None);

    private bool Write(MembershipEntry entry, TableVersion version)
    {
        if (version.Version != _version + 1) return false; // somebody else was first
        _version = version.Version;
        _rows[entry.SiloAddress] = (Copy(entry), _version);
        return true;
    }

    private static MembershipEntry Copy(MembershipEntry row) => new()
    {
        SiloAddress = row.SiloAddress, SiloName = row.SiloName, RoleName = row.RoleName, HostName = row.HostName, ProxyPort = row.ProxyPort,
        UpdateZone = row.UpdateZone, FaultZone = row.FaultZone, Status = row.Status, SuspectTimes = [.. row.SuspectTimes ?? []],
        StartTime = row.StartTime, IAmAliveTime = row.IAmAliveTime,
    };

    private static string Text(int number) => number.ToString(CultureInfo.InvariantCulture);
}
