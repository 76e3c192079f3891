using System.Collections.Concurrent;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;
using FedRLora.Grains.Store;

namespace FedRLora.Grains.Inputs;

/// <summary>
/// Holds a silo's base and its clients' rows against what runs were made with. Rows are known to their site alone: their digests are
/// salted, lie in the site's own store, and what leaves it is whether they are equal. A file that nobody touched is not read again.
/// </summary>
/// <param name="inputs">What is on this machine.</param>
/// <param name="jobStore">Where jobs say what they are made with.</param>
/// <param name="siteStore">The site's own store.</param>
public sealed class InputGuard(IRunInputs inputs, IBlobStore jobStore, IBlobStore siteStore)
{
    private const int MostDocuments = 64;
    private readonly ConcurrentDictionary<string, MadeWith> _documents = new(StringComparer.Ordinal); // by digest
    // which version of rows was found to be what it should be
    private readonly ConcurrentDictionary<(string Key, bool WithTest), string> _equal = new();

    /// <summary>
    /// Which clients of an assignment must not work here and why, in one line; rows of a client that never worked are recorded.
    /// </summary>
    /// <param name="assignment">The work.</param>
    /// <param name="plan">Its plan.</param>
    /// <param name="site">The site.</param>
    /// <param name="silo">This silo's name.</param>
    /// <param name="cancellationToken">The caller's token.</param>
    public async Task<IReadOnlyDictionary<string, string>> RefusedAsync(
        SiteAssignment assignment, IndexedPlan plan, string site, string silo, CancellationToken cancellationToken)
    {
        var clients = assignment.Members.Select(static member => member.ClientId).ToArray();
        if (await BaseChangeAsync(assignment.JobId, assignment.Inputs, round: null, plan.Plan, cancellationToken) is { } other)
            return clients.ToDictionary(static client => client, _ => other.On(silo).Line, StringComparer.Ordinal);
        var refused = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var client in clients)
        {
            var rows = new ClientRows(assignment.JobId, site, plan.Plan, plan.Client(client),
                WithTest: assignment.Phase == RoundPhase.Evaluate);
            if (await ChangeAsync(() => RecordAsync(rows, assignment.Inputs, cancellationToken)) is { } change)
                refused.Add(client, change.Line);
        }

        return refused;
    }

    /// <summary>
    /// How base and rows differ from what a run was made with; where it is asked for, what is there now is written down as what counts.
    /// </summary>
    /// <param name="job">The run.</param>
    /// <param name="site">The site.</param>
    /// <param name="silo">This silo's name; null where only one machine is concerned.</param>
    /// <param name="check">What is asked.</param>
    /// <param name="plan">The plan that <paramref name="check"/> names.</param>
    /// <param name="cancellationToken">The caller's token.</param>
    /// <param name="rowsAlone">Whether the base is compared by somebody else.</param>
    public async Task<InputsFound> CheckAsync(string job, string site, string? silo, InputsCheck check, IndexedPlan plan,
        CancellationToken cancellationToken, bool rowsAlone = false)
    {
        var found = new SortedDictionary<string, string>(StringComparer.Ordinal);
        var isUnreadable = false;
        foreach (var client in check.Clients)
        {
            var rows = new ClientRows(job, site, plan.Plan, plan.Client(client), WithTest: true);
            if (await ChangeAsync(() => CompareAsync(rows, check, cancellationToken)) is not { } change) continue;
            found.Add(client, change.Line);
            isUnreadable |= change.IsUnreadable;
        }

        var other = rowsAlone ? null : await BaseChangeAsync(job, check.Inputs, check.Round, plan.Plan, cancellationToken);
        return new InputsFound
        {
            Base = (silo is null ? other : other?.On(silo))?.Line, Rows = found,
            IsUnreadable = isUnreadable || other is { IsUnreadable: true },
        };
    }

    /// <summary>
    /// How the base of this machine differs from what a run was made with; null where it does not, or nothing is recorded.
    /// </summary>
    /// <param name="job">The run.</param>
    /// <param name="document">What it was made with.</param>
    /// <param name="round">The committed round to compare with; null for what counts now.</param>
    /// <param name="plan">The plan.</param>
    /// <param name="cancellationToken">The caller's token.</param>
    public Task<InputChange?> BaseChangeAsync(
        string job, BlobRef? document, int? round, FederationPlan plan, CancellationToken cancellationToken) => ChangeAsync(async () =>
    {
        if (document is null) return null;
        var made = await DocumentAsync(document, cancellationToken);
        var expected = round is { } committed ? made.BaseOf(committed) : made.Base;
        return expected?.Change(await inputs.BaseAsync(plan, cancellationToken), plan.Model.Path, job);
    });

    /// <summary>
    /// Whether adapters of a committed round belong to the base that is here. The tokenizer is no part of an adapter, and weights that
    /// are not there are missed by who needs them.
    /// </summary>
    /// <exception cref="BadInputException">Configuration or weights are others.</exception>
    public async Task RequireExportBaseAsync(string job, BlobRef? document, int round, FederationPlan plan,
        CancellationToken cancellationToken)
    {
        if (document is null || (await DocumentAsync(document, cancellationToken)).BaseOf(round) is not { } made) return;
        var now = await inputs.BaseAsync(plan, cancellationToken);
        var hasWeights = now.Files.Any(static file => file.Part == BasePart.Weights);
        BasePart[] parts = hasWeights ? [BasePart.Config, BasePart.Weights] : [BasePart.Config];
        if (made.Only(parts).Change(now.Only(parts), plan.Model.Path, job) is { } change)
            throw new BadInputException($"{change}; put back what it was, the adapters belong to it");
    }

    private static async Task<InputChange?> ChangeAsync(Func<Task<string?>> look)
    {
        try
        {
            return await look() is { } line ? new InputChange(line, IsUnreadable: false) : null;
        }
        catch (BadInputException e)
        {
            return new InputChange(e.Message, IsUnreadable: true); // what cannot be read is not what it was
        }
    }

    /// <summary>What a run is made with, as the job's store has it.</summary>
    internal async Task<MadeWith> DocumentAsync(BlobRef blob, CancellationToken cancellationToken)
    {
        if (_documents.TryGetValue(blob.Sha256, out var known)) return known;
        var read = MadeWith.Parse(await jobStore.ReadBytesAsync(blob, cancellationToken), blob.Key);
        if (_documents.Count >= MostDocuments) _documents.Clear();
        return _documents[blob.Sha256] = read;
    }

    // Compares what a client is about to read, and writes down what it reads for the first time.
    private async Task<string?> RecordAsync(ClientRows rows, BlobRef? document, CancellationToken cancellationToken)
    {
        var version = VersionOf(rows, document);
        if (IsKnown(rows, version)) return null;
        var made = document is null ? null : await DocumentAsync(document, cancellationToken);
        while (true)
        {
            var (stored, etag, problem) = await ReadAsync(rows.Key, cancellationToken);
            if (problem is not null) return rows.Unknown(problem);
            if (stored is null && await IsLostAsync(rows, made, round: null, cancellationToken)) return rows.Unknown("is missing");
            var record = stored?.KnownTo(made, rows.Client.Id) ?? RowsRecord.Fresh();
            var expected = record.Of(round: null);
            var train = await DigestAsync(rows.Train, record, cancellationToken);
            var test = rows.Test is { } selection ? await DigestAsync(selection, record, cancellationToken) : null;
            if (expected.Train is not null && expected.Train != train) return rows.Changed(rows.Train, "training");
            if (test is not null && expected.Test is not null && expected.Test != test) return rows.Changed(rows.Test!, "test");
            if (expected.Train is null || (expected.Test is null && test is not null))
            {
                var first = record.With(expected.After, train, test ?? expected.Test);
                if (!await TryWriteAsync(rows.Key, first, etag, cancellationToken)) continue; // another silo of the site was first
            }

            if (version is not null && version == VersionOf(rows, document)) _equal[(rows.Key, rows.WithTest)] = version;
            return null;
        }
    }

    private async Task<string?> CompareAsync(ClientRows rows, InputsCheck check, CancellationToken cancellationToken)
    {
        if (check.Round is null && IsKnown(rows, VersionOf(rows, check.Inputs))) return null;
        var made = check.Inputs is null ? null : await DocumentAsync(check.Inputs, cancellationToken);
        while (true)
        {
            var (stored, etag, problem) = await ReadAsync(rows.Key, cancellationToken);
            if (stored is null && problem is null && !check.Worked.Contains(rows.Client.Id)
                && !await IsLostAsync(rows, made, check.Round, cancellationToken))
                return null; // it has not worked yet: whatever it finds will be what it was made with
            if (stored is null)
            {
                var unknown = rows.Unknown(problem ?? "is missing");
                if (check.AcceptAfter is not { } last) return unknown;
                var fresh = await AsItIsAsync(rows, last, cancellationToken);
                if (await TryWriteAsync(rows.Key, fresh, etag, cancellationToken)) return unknown;
                continue;
            }

            var record = stored.KnownTo(made, rows.Client.Id);
            var expected = record.Of(check.Round);
            var train = expected.Train is null ? null : await DigestAsync(rows.Train, record, cancellationToken);
            var test = expected.Test is null || rows.Test is null ? null : await DigestAsync(rows.Test, record, cancellationToken);
            var line = train != expected.Train ? rows.Changed(rows.Train, "training")
                : test is not null && test != expected.Test ? rows.Changed(rows.Test!, "test") : null;
            if (line is null || check.AcceptAfter is not { } after) return line;
            if (await TryWriteAsync(rows.Key, record.With(after, train, test), etag, cancellationToken)) return line;
        }
    }

    // What is there now, where nobody knows any more what was there before.
    private async Task<RowsRecord> AsItIsAsync(ClientRows rows, int after, CancellationToken cancellationToken)
    {
        var fresh = RowsRecord.Fresh();
        var test = rows.Test is null ? null : await DigestAsync(rows.Test, fresh, cancellationToken);
        return fresh with { Since = [new RowsSince(after, await DigestAsync(rows.Train, fresh, cancellationToken), test)] };
    }

    // Digests are written before a client works, so one that has a head or an optimizer state of a recorded round had them.
    private async Task<bool> IsLostAsync(ClientRows rows, MadeWith? made, int? round, CancellationToken cancellationToken)
    {
        if (made is not { Since: [var first, ..] } || round <= first.After) return false;
        await foreach (var key in siteStore.ListAsync(rows.Owned, cancellationToken))
        {
            if (Keys.RoundOf(key, rows.Owned) is { } worked && worked > Math.Max(first.After, 0)) return true;
        }

        return false;
    }

    private async Task<(RowsRecord? Record, string? ETag, string? Problem)> ReadAsync(string key, CancellationToken cancellationToken)
    {
        await using var opened = await siteStore.OpenAsync(key, cancellationToken);
        if (opened is null) return (null, null, null);
        try
        {
            return (RowsRecord.Parse(await opened.ReadAsync(cancellationToken), key), opened.ETag, null);
        }
        catch (CorruptBlobException)
        {
            return (null, opened.ETag, "was changed");
        }
    }

    private async Task<bool> TryWriteAsync(string key, RowsRecord record, string? etag, CancellationToken cancellationToken)
    {
        try
        {
            await siteStore.WriteBytesAsync(key, record.ToBytes(), WriteCondition.Unchanged(etag), cancellationToken);
            return true;
        }
        catch (BlobConflictException)
        {
            return false;
        }
    }

    private Task<string> DigestAsync(RowSelection rows, RowsRecord record, CancellationToken cancellationToken) =>
        inputs.RowsAsync(rows, Convert.FromHexString(record.Salt), cancellationToken);

    private bool IsKnown(ClientRows rows, string? version) =>
        version is not null && _equal.TryGetValue((rows.Key, rows.WithTest), out var seen) && seen == version;

    // Another one wherever files or what counts may have changed; null where that cannot be told.
    private string? VersionOf(ClientRows rows, BlobRef? document)
    {
        var (train, test) = (inputs.VersionOf(rows.Train.Path), rows.Test is null ? "" : inputs.VersionOf(rows.Test.Path));
        return train is null || test is null ? null : $"{document?.Sha256} {train} {test}";
    }

    private sealed record ClientRows(string Job, string Site, FederationPlan Plan, ClientSpec Client, bool WithTest)
    {
        public string Key { get; } = Keys.Rows(Job, Site, Client.Id);

        public string Owned { get; } = Keys.Owned(Job, Site, Client.Id);

        public RowSelection Train { get; } = RowSelection.Train(Client);

        public RowSelection? Test { get; } = WithTest ? RowSelection.Test(Client) : null;

        public string Changed(RowSelection rows, string kind) =>
            $"{rows.Path}: the {kind} rows of client {Client.Id} are not those that run {Job} was made with";

        public string Unknown(string problem) =>
            $"{Key} {problem}, so it cannot be told whether the rows of client {Client.Id} are those that run {Job} was made with";
    }
}
