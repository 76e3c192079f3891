using System.Globalization;
using System.Text;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;
using FedRLora.Federation.Rounds;
using FedRLora.Grains.Coordination;
using FedRLora.Grains.Inputs;
using FedRLora.Grains.Jobs;
using FedRLora.Grains.Runs;
using FedRLora.Grains.Store;

namespace FedRLora.Grains.Upkeep;

/// <summary>A round that the pointer is not put on.</summary>
/// <param name="Round">The round.</param>
/// <param name="Reason">The blob, and what is wrong with it.</param>
public sealed record PassedRound(int Round, string Reason);

/// <summary>What <see cref="RunRepair"/> does to a run.</summary>
public sealed record Repair
{
    /// <summary>What the pointer named; null where it is lost or broken, or nothing was committed.</summary>
    public required CurrentRound? Before { get; init; }

    /// <summary>What it names afterwards; null where nothing was committed, or no round holds.</summary>
    public required CurrentRound? After { get; init; }

    /// <summary>Whether rounds were committed and none of them holds: nothing is changed then.</summary>
    public required bool IsHopeless { get; init; }

    /// <summary>Rounds after the one that the pointer names, or all where none holds, newest first.</summary>
    public required IReadOnlyList<PassedRound> Passed { get; init; }

    /// <summary>What is changed, in sentences.</summary>
    public required IReadOnlyList<string> Steps { get; init; }

    /// <summary>What cannot be repaired, and what helps.</summary>
    public required IReadOnlyList<string> Unresolved { get; init; }

    /// <summary>Sites whose heads are in another store than the one looked at.</summary>
    public required IReadOnlyList<string> OtherSites { get; init; }

    internal IReadOnlyList<Change> Changes { get; init; } = [];

    /// <param name="Key">The blob, in the job's store.</param>
    /// <param name="Content">What is written; null: it is deleted.</param>
    /// <param name="Condition">What must hold for it, after all others are durable; null: it is written over whatever is there.</param>
    internal sealed record Change(string Key, byte[]? Content, WriteCondition? Condition = null);
}

/// <summary>
/// Makes a run usable whose documents are lost or broken: puts the pointer on the newest round whose manifest leads back to round 0
/// by digests and whose states and heads are there by theirs, and makes again what follows from others. It deletes no manifest and no
/// state: those of rounds it passes over are written again by the rounds that replace them, under the same keys where they are equal.
/// </summary>
/// <param name="jobStore">The job's store.</param>
/// <param name="siteStore">The store of one or more sites; the job's where they share one.</param>
/// <param name="job">The job.</param>
/// <param name="plans">Texts of plans that may be the job's: those that it names are put back.</param>
public sealed class RunRepair(IBlobStore jobStore, IBlobStore siteStore, string job, IReadOnlyList<string>? plans = null)
{
    /// <summary>Finds out what is to do, and does none of it; null where there is no such job.</summary>
    public Task<Repair?> FindAsync(CancellationToken cancellationToken = default) =>
        new Search(jobStore, siteStore, job, plans ?? []).RunAsync(cancellationToken);

    /// <summary>Does it; the pointer comes last.</summary>
    /// <exception cref="BlobConflictException">Somebody runs the job.</exception>
    public async Task ApplyAsync(Repair repair, CancellationToken cancellationToken = default)
    {
        foreach (var change in repair.Changes)
        {
            if (change.Condition is not null) await jobStore.MakeDurableAsync(cancellationToken);
            if (change is { Content: { } pointer, Condition: { } condition })
                await jobStore.WriteBytesAsync(change.Key, pointer, condition, cancellationToken);
            else if (change.Content is { } content) await jobStore.WriteDocumentAsync(change.Key, content, cancellationToken);
            else await jobStore.DeleteAsync(change.Key, cancellationToken);
        }

        await jobStore.MakeDurableAsync(cancellationToken);
    }

    private sealed class Search(IBlobStore jobStore, IBlobStore siteStore, string job, IReadOnlyList<string> plans)
    {
        private readonly HashSet<string> _jobKeys = new(StringComparer.Ordinal);
        private readonly HashSet<string> _sitesHere = new(StringComparer.Ordinal);
        private readonly SortedSet<(string Site, string Client)> _owners = []; // whose files are in the site store
        private readonly SortedSet<string> _otherSites = new(StringComparer.Ordinal);
        private readonly Dictionary<int, List<string>> _manifestsOf = [];
        private readonly Dictionary<(int Round, string Sha256), RoundManifest> _manifests = [];
        private readonly Dictionary<string, string> _spoilt = new(StringComparer.Ordinal); // manifests that are not what their key says
        private readonly Dictionary<string, byte[]> _plans = new(StringComparer.Ordinal); // by digest
        private readonly Dictionary<BlobRef, string?> _looked = [];
        private readonly List<PassedRound> _passed = [];
        private readonly List<string> _steps = [];
        private readonly List<string> _unresolved = [];
        private readonly List<Repair.Change> _changes = [];
        private JobMemory? _memory;

        public async Task<Repair?> RunAsync(CancellationToken cancellationToken)
        {
            await ListAsync(cancellationToken);
            var memory = await jobStore.ReadBytesAsync(Keys.Memory(job), cancellationToken);
            if (_jobKeys.Count == 0 && memory is null && _sitesHere.Count == 0) return null;
            _memory = memory is null ? null : CommitTraces.MemoryOf(memory);
            if (memory is not null && _memory is null) Remove(Keys.Memory(job), "was changed; the open round begins again");
            await ReadManifestsAsync(cancellationToken);
            var stored = await ReadPlansAsync(cancellationToken);
            var (pointer, problem, condition) = await PointerAsync(cancellationToken);
            var committed = pointer is not null || await CommitTraces.FindAsync(jobStore, job, cancellationToken) is not null;
            var chosen = committed ? await ChooseAsync(pointer, cancellationToken) : null;
            if (chosen is not { } found)
            {
                if (committed && _passed.Count == 0)
                    _unresolved.Add($"{Keys.Rounds(job)} holds no manifest; put it back with all that was in it");
                if (committed) return Done(pointer, null, isHopeless: true);
                if (problem is not null) Remove(Keys.Current(job), problem);
                await FingerprintAsync(null, cancellationToken);
                await InputsAsync([], cancellationToken);
                await IndexAsync(null, cancellationToken);
                return Done(pointer, null, isHopeless: false);
            }

            Plans(stored, Chain(found));
            await FingerprintAsync(_manifests[(found.Round, found.ManifestSha256)], cancellationToken);
            await InputsAsync(Chain(found), cancellationToken);
            await TimingsAsync(found.Round, cancellationToken);
            await IndexAsync(found, cancellationToken);
            if (found != pointer)
            {
                _steps.Add($"{Keys.Current(job)} {problem ?? $"named {Named(pointer!)}"}; it is put on {Named(found)}");
                _changes.Add(new Repair.Change(Keys.Current(job), found.ToBytes(), condition));
                if (BeforeExtension(stored, found) is { } otherwise) _steps.Add(otherwise);
            }

            return Done(pointer, found, isHopeless: false);
        }

        private static string Named(CurrentRound round) =>
            string.Create(CultureInfo.InvariantCulture, $"round {round.Round}, {round.ManifestSha256}");

        // Rounds that are trained again under a plan that was not yet in force; null where there are none.
        private string? BeforeExtension(IReadOnlyList<(string Key, string? Sha256)> stored, CurrentRound found)
        {
            var then = _manifests[(found.Round, found.ManifestSha256)].PlanSha256;
            if (stored.LastOrDefault(static plan => plan.Sha256 is not null).Sha256 is not { } now || now == then) return null;
            var (before, after) = (RoundsOf(then), RoundsOf(now));
            if (found.Round >= before || _passed.All(passed => passed.Round > before)) return null;
            var again = found.Round + 1 == before
                ? $"round {before} was"
                : string.Create(CultureInfo.InvariantCulture, $"rounds {found.Round + 1} to {before} were");
            return $"{again} made before the run was extended to {after} rounds; " +
                "trained again under the extended plan, the digest will be another one";
        }

        private int RoundsOf(string plan) => PlanReader.Require(Encoding.UTF8.GetString(_plans[plan]), Keys.Plan(job)).Strategy.Rounds;

        private Repair Done(CurrentRound? before, CurrentRound? after, bool isHopeless) => new()
        {
            Before = before, After = after, IsHopeless = isHopeless, Passed = _passed, Unresolved = _unresolved,
            Steps = isHopeless ? [] : _steps, Changes = isHopeless ? [] : _changes, OtherSites = [.. _otherSites],
        };

        private async Task ListAsync(CancellationToken cancellationToken)
        {
            await foreach (var key in jobStore.ListAsync(Keys.Job(job), cancellationToken)) _jobKeys.Add(key);
            await foreach (var key in siteStore.ListAsync(Keys.Sites, cancellationToken))
            {
                if (Keys.OwnerOf(key, job) is not { } owner) continue;
                _sitesHere.Add(owner.Site);
                _owners.Add(owner);
            }
        }

        private async Task ReadManifestsAsync(CancellationToken cancellationToken)
        {
            foreach (var key in _jobKeys)
            {
                if (Keys.RoundOf(key, Keys.Rounds(job)) is { } old && key == Keys.UndigestedManifest(job, old))
                    throw new BadInputException($"{key} has no digest in its name, so an older version of this program made the run; " +
                        "repair it with that one.");
                if (Keys.ManifestOf(key, job) is not var (round, sha256)) continue;
                var bytes = await jobStore.ReadBytesAsync(key, cancellationToken);
                var found = bytes is null ? null : RoundManifest.Digest(bytes);
                if (found != sha256) _spoilt[key] = found is null ? "is missing" : $"has digest {found}";
                else if (ManifestChain.TryParse(bytes!, key) is not { } manifest || manifest.Round != round)
                    _spoilt[key] = "is no manifest of its round";
                else
                {
                    _manifests[(round, sha256)] = manifest;
                    if (!_manifestsOf.TryGetValue(round, out var ofRound)) _manifestsOf[round] = ofRound = [];
                    ofRound.Add(sha256);
                }
            }
        }

        private async Task<(CurrentRound? Pointer, string? Problem, WriteCondition Condition)> PointerAsync(
            CancellationToken cancellationToken)
        {
            var key = Keys.Current(job);
            await using var blob = await jobStore.OpenAsync(key, cancellationToken);
            if (blob is null) return (null, "is missing", WriteCondition.Absent);
            var (etag, bytes) = (blob.ETag, await blob.ReadAsync(cancellationToken));
            try
            {
                return (CurrentRound.Parse(bytes, key), null, WriteCondition.Match(etag));
            }
            catch (BadInputException e)
            {
                return (null, e.Message[(key.Length + 1)..].TrimStart(' ').TrimEnd('.'), WriteCondition.Match(etag));
            }
        }

        // From the newest round down. Where a round has two manifests, the one counts that a later round, the pointer or the memory name.
        private async Task<CurrentRound?> ChooseAsync(CurrentRound? pointer, CancellationToken cancellationToken)
        {
            var spoilt = _spoilt.Keys.Select(key => Keys.ManifestOf(key, job)!.Value.Round);
            var newest = _manifestsOf.Keys.Concat(spoilt).DefaultIfEmpty(-1).Max();
            var (from, named) = pointer is null ? (newest, null) : (pointer.Round, pointer.ManifestSha256);
            for (var round = from; round >= 0; round--)
            {
                if (named is null && _memory?.State.Committed == round) named = _memory.State.CommittedSha256;
                var isLost = named is not null && !_manifests.ContainsKey((round, named));
                if ((named is null || isLost) && _manifestsOf.GetValueOrDefault(round) is [var only]) named = only;
                var reason = named is null
                    ? WithoutName(round)
                    : await WhyNotAsync(round, named, Math.Max(from, newest), cancellationToken);
                if (reason is null) return new CurrentRound { Round = round, ManifestSha256 = named! };
                _passed.Add(new PassedRound(round, reason));
                named = named is not null && _manifests.TryGetValue((round, named), out var manifest) ? manifest.Previous : null;
                if (round > newest + 1) round = newest + 1; // a pointer far beyond what is stored
            }

            return null;
        }

        private string WithoutName(int round)
        {
            if (_manifestsOf.TryGetValue(round, out var several))
                return $"{Keys.Round(job, round)} has {several.Count} manifests, and nothing says which of them was committed";
            var spoilt = _spoilt.FirstOrDefault(one => Keys.ManifestOf(one.Key, job)!.Value.Round == round);
            return spoilt is { Key: { } key, Value: var what } ? $"{key} {what}" : $"{Keys.Round(job, round)} has no manifest";
        }

        // Why a round cannot be gone on from; null where it can.
        private async Task<string?> WhyNotAsync(int round, string sha256, int last, CancellationToken cancellationToken)
        {
            for (var (link, digest) = (round, sha256); ; link--)
            {
                var key = Keys.Manifest(job, link, digest);
                if (!_manifests.TryGetValue((link, digest), out var before)) return $"{key} {_spoilt.GetValueOrDefault(key, "is missing")}";
                if (link == 0) break;
                if (before.Previous is null) return $"{key} names no manifest before it";
                digest = before.Previous;
            }

            var manifest = _manifests[(round, sha256)];
            if (!_plans.TryGetValue(manifest.PlanSha256, out var yaml))
                return $"{Keys.Plan(job)}: the plan with digest {manifest.PlanSha256} is not there; put it back";
            var plan = PlanReader.Require(Encoding.UTF8.GetString(yaml), Keys.Plan(job));
            foreach (var blob in Retention.SharedOf(job, manifest))
            {
                if (await LookAsync(jobStore, blob, cancellationToken) is { } problem)
                    return Said(blob, problem, Retention.KeepsShared(plan.Checkpoints, round, last)
                        ? null
                        : "the plan's checkpoints.keepLast let it go; keepEvery keeps it for every n-th round");
            }

            var siteOf = plan.Clients.ToDictionary(static client => client.Id, static client => client.Site, StringComparer.Ordinal);
            foreach (var blob in Retention.OwnedOf(job, manifest, client => siteOf[client]))
            {
                var (site, client) = Keys.OwnerOf(blob.Key, job)!.Value;
                if (!_sitesHere.Contains(site))
                {
                    if (ReferenceEquals(jobStore, siteStore))
                        return $"nothing of site {site} is in this store; give the site's own with --site-store";
                    _otherSites.Add(site);
                    continue;
                }

                if (await LookAsync(siteStore, blob, cancellationToken) is { } problem)
                    return Said(blob, problem, Retention.KeepsHeads(plan.Checkpoints, round, last)
                        ? null
                        : $"heads of client {client} were collected; the plan's checkpoints.keepEvery keeps those of every n-th round");
            }

            return null;
        }

        private static string Said(BlobRef blob, string problem, string? collected) =>
            $"{blob.Key} {problem}{(problem == Gone && collected is not null ? $": {collected}" : "")}";

        private const string Gone = "is missing";

        private async Task<string?> LookAsync(IBlobStore store, BlobRef blob, CancellationToken cancellationToken)
        {
            if (_looked.TryGetValue(blob, out var known)) return known;
            await using var opened = await store.OpenAsync(blob.Key, cancellationToken);
            var found = opened is null ? null : await opened.DigestAsync(cancellationToken);
            return _looked[blob] = found is null ? Gone : found == blob.Sha256 ? null : $"has digest {found}, expected {blob.Sha256}";
        }

        private List<RoundManifest> Chain(CurrentRound current)
        {
            var chain = new List<RoundManifest>();
            for (var (round, sha256) = (current.Round, current.ManifestSha256); round >= 0; round--)
            {
                chain.Add(_manifests[(round, sha256)]);
                sha256 = chain[^1].Previous!;
            }

            chain.Reverse();
            return chain;
        }

        private async Task<IReadOnlyList<(string Key, string? Sha256)>> ReadPlansAsync(CancellationToken cancellationToken)
        {
            foreach (var yaml in plans.Select(Encoding.UTF8.GetBytes)) _plans[RoundManifest.Digest(yaml)] = yaml;
            var stored = new List<(string, string?)>();
            foreach (var key in await StoredPlans.KeysAsync(jobStore, job, cancellationToken))
            {
                var yaml = await jobStore.ReadBytesAsync(key, cancellationToken);
                var sha256 = yaml is null ? null : RoundManifest.Digest(yaml);
                if (sha256 is not null) _plans[sha256] = yaml!;
                stored.Add((key, sha256));
            }

            return stored;
        }

        private void Plans(IReadOnlyList<(string Key, string? Sha256)> stored, List<RoundManifest> chain)
        {
            var expected = chain.Select(static manifest => manifest.PlanSha256).Distinct().ToList();
            foreach (var sha256 in expected.Where(sha256 => stored.All(plan => plan.Sha256 != sha256)))
            {
                // The first plan is plan.yaml; an extension has the place that is empty, or the one after the last.
                var free = sha256 == expected[0] ? stored[0].Key
                    : stored.Skip(1).FirstOrDefault(static plan => plan.Sha256 is null).Key
                    ?? (sha256 == expected[^1] ? Keys.Extension(job, stored.Count) : null);
                if (free is not null && _plans.TryGetValue(sha256, out var yaml))
                {
                    _steps.Add($"{free} is not the plan that rounds were committed with; that one is put back");
                    _changes.Add(new Repair.Change(free, yaml));
                }
                else
                {
                    _unresolved.Add($"{free ?? Keys.Extensions(job)}: the plan with digest {sha256} is not there; put it back");
                }
            }
        }

        private async Task FingerprintAsync(RoundManifest? manifest, CancellationToken cancellationToken)
        {
            var key = Keys.Fingerprint(job);
            if (await jobStore.ReadBytesAsync(key, cancellationToken) is { } bytes)
            {
                if (EngineFingerprints.IsReadable(bytes)) return;
            }
            else if (manifest is null)
            {
                return; // written when the run begins
            }

            if (manifest?.Engine is { } text && EngineFingerprint.Parse(text) is { } engine)
            {
                _steps.Add($"{key} was missing or changed; it is made again from the manifest of round {manifest.Round}: {text}");
                _changes.Add(new Repair.Change(key, EngineFingerprints.Write(engine)));
                return;
            }

            if (_jobKeys.Contains(key)) Remove(key, "was changed");
            if (manifest is null) return;
            _unresolved.Add($"{key} cannot be made again, since the manifest of round {manifest.Round} does not say on which engine " +
                "it was made; resume with --allow-engine-change");
        }

        private async Task InputsAsync(List<RoundManifest> chain, CancellationToken cancellationToken)
        {
            var (key, last) = (Keys.Inputs(job), chain.Count - 1);
            var (made, problem) = await MadeWithAsync(key, cancellationToken);
            problem ??= made is null ? null : chain.Select(made.Contradiction).FirstOrDefault(static odd => odd is not null);
            if (problem is null && made is not null)
            {
                var gone = made.Since.Select(static one => one.After).Where(after => after > last).ToArray();
                if (gone.Length > 0)
                {
                    _steps.Add($"{key} tells of a change that was allowed after round {string.Join(" and ", gone)}, which is dropped; " +
                        "go on with what was there before, or allow the change again with --allow-data-change");
                    made = made.Until(last);
                    _changes.Add(new Repair.Change(key, made.ToBytes()));
                }
            }
            else if (MadeWith.Of(chain) is { } told)
            {
                made = told;
                _steps.Add($"{key} {problem ?? "is missing"}; it is made again from the manifests, " +
                    "which name the base by configuration, tokenizer and weights and not by files");
                _changes.Add(new Repair.Change(key, made.ToBytes()));
            }
            else if (problem is not null)
            {
                if (_jobKeys.Contains(Keys.OriginManifest(job)))
                    _unresolved.Add($"{key} {problem}; put it back, or fork again under another name");
                else Remove(key, $"{problem}, and no manifest tells what the run was made with: that is recorded again when it goes on");
            }

            if (made is not null && last >= 0) await RowsAsync(made.Worked(chain[^1]), cancellationToken);
        }

        private async Task<(MadeWith? Made, string? Problem)> MadeWithAsync(string key, CancellationToken cancellationToken)
        {
            try
            {
                return ((await MadeWith.ReadAsync(jobStore, key, cancellationToken))?.Document, null);
            }
            catch (CorruptBlobException)
            {
                return (null, "was changed");
            }
        }

        // No manifest tells which rows a client read; whoever goes on has to answer for them.
        private async Task RowsAsync(IReadOnlyList<string> worked, CancellationToken cancellationToken)
        {
            foreach (var (site, client) in _owners)
            {
                var key = Keys.Rows(job, site, client);
                var bytes = await siteStore.ReadBytesAsync(key, cancellationToken);
                if (bytes is null ? !worked.Contains(client) : RowsRecord.IsReadable(bytes, key)) continue;
                var problem = bytes is null ? "is missing" : "was changed";
                _unresolved.Add($"{key} {problem}, so nobody can tell which rows client {client} read; {WayOut.Of(key)}");
            }
        }

        private async Task TimingsAsync(int last, CancellationToken cancellationToken)
        {
            for (var round = 0; round <= last; round++)
            {
                var key = Keys.Timing(job, round);
                if (!_jobKeys.Contains(key) || await jobStore.ReadBytesAsync(key, cancellationToken) is not { } bytes) continue;
                if (SealedJson.Check(bytes) is not null) Remove(key, "was changed; how long the round took is not known");
            }
        }

        private async Task IndexAsync(CurrentRound? current, CancellationToken cancellationToken)
        {
            var key = Keys.IndexOf(job);
            var mark = await jobStore.ReadBytesAsync(key, cancellationToken);
            if (mark is not null && (mark.AsSpan().SequenceEqual(JobsGrain.Over) || mark.AsSpan().SequenceEqual(JobsGrain.Running))) return;
            if (mark is null && current is null) return; // written when the run begins
            var isOver = _memory?.State.Phase is null or Phase.Finished or Phase.Failed or Phase.Cancelled or Phase.Paused;
            var standing = isOver ? "was stopped" : "goes on";
            _steps.Add($"{key} was missing or changed; the run is put into the list of runs again, as one that {standing}");
            _changes.Add(new Repair.Change(key, (isOver ? JobsGrain.Over : JobsGrain.Running).ToArray()));
        }

        private void Remove(string key, string why)
        {
            _steps.Add($"{key} {why}; it is removed");
            _changes.Add(new Repair.Change(key, null));
        }
    }
}
