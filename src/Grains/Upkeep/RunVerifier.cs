using System.Text;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;
using FedRLora.Grains.Clients;
using FedRLora.Grains.Exports;
using FedRLora.Grains.Inputs;
using FedRLora.Grains.Jobs;
using FedRLora.Grains.Runs;
using FedRLora.Grains.Store;

namespace FedRLora.Grains.Upkeep;

/// <summary>
/// Checks every blob of a job against the digest that names it: the chain of manifests from current.json back to round 0, what each
/// manifest names and is still kept, and the documents that carry their own digest. It reads stores and nothing else; a running
/// job may be verified too.
/// </summary>
/// <param name="jobStore">The job's store.</param>
/// <param name="siteStore">The store of one or more sites; the job's where they share one.</param>
/// <param name="job">The job.</param>
public sealed class RunVerifier(IBlobStore jobStore, IBlobStore siteStore, string job)
{
    private const int MostPasses = 5;

    /// <summary>Checks everything; null where there is no such job.</summary>
    public Task<RunReport?> VerifyAsync(CancellationToken cancellationToken = default) =>
        VerifyAsync(static pass => pass.RunAsync, cancellationToken);

    /// <summary>Checks what is in the job's store and nothing of any site: each of them is named as not looked at.</summary>
    public Task<RunReport?> VerifyJobAsync(CancellationToken cancellationToken = default) =>
        VerifyAsync(static pass => pass.RunJobAsync, cancellationToken);

    /// <summary>Checks what one site keeps and nothing else; findings about the job's store are the other part's.</summary>
    public Task<RunReport?> VerifySiteAsync(string site, CancellationToken cancellationToken = default) =>
        VerifyAsync(pass => token => pass.RunSiteAsync(site, token), cancellationToken);

    private async Task<RunReport?> VerifyAsync(
        Func<Pass, Func<CancellationToken, Task<RunReport?>>> part, CancellationToken cancellationToken)
    {
        for (var pass = 1; ; pass++)
        {
            var before = await jobStore.ReadBytesAsync(Keys.Current(job), cancellationToken);
            var report = await part(new Pass(jobStore, siteStore, job))(cancellationToken);
            var after = await jobStore.ReadBytesAsync(Keys.Current(job), cancellationToken);
            // A commit on the way lets older states go while they are looked for.
            if (report is not { Broken.Count: > 0 } || pass == MostPasses || before.AsSpan().SequenceEqual(after)) return report;
        }
    }

    private sealed class Pass(IBlobStore jobStore, IBlobStore siteStore, string job)
    {
        private readonly List<Finding> _broken = [];
        private readonly SortedSet<string> _unaccounted = new(StringComparer.Ordinal);
        private readonly SortedSet<string> _unchecked = new(StringComparer.Ordinal);
        private readonly HashSet<string> _siteKeys = new(StringComparer.Ordinal);
        private readonly HashSet<BlobRef> _checked = []; // a state may be named by several rounds
        private int _newest = -1; // that was ever committed, as far as it shows
        private int _intact;
        private BaseParts? _originBase; // of the round that a fork began from

        public async Task<RunReport?> RunAsync(CancellationToken cancellationToken)
        {
            await ListJobAsync(cancellationToken);
            await ListSitesAsync(Keys.Sites, cancellationToken);
            if (_unaccounted.Count == 0) return null;
            var chain = await ChainAsync(_unaccounted, cancellationToken);
            var plan = await RunJobAsync(chain, cancellationToken);
            var others = await HeadsAsync(chain, plan, looksElsewhere: !ReferenceEquals(jobStore, siteStore), cancellationToken);
            await RowsAsync(chain, cancellationToken);
            await StepPointsAsync(cancellationToken);
            await ExportsAsync(cancellationToken);
            await RunJobsEndAsync(chain, cancellationToken);
            return Report(chain, others);
        }

        public async Task<RunReport?> RunJobAsync(CancellationToken cancellationToken)
        {
            await ListJobAsync(cancellationToken);
            if (_unaccounted.Count == 0) return null;
            var chain = await ChainAsync(_unaccounted, cancellationToken);
            var plan = await RunJobAsync(chain, cancellationToken);
            await StepPointsAsync(cancellationToken);
            await RunJobsEndAsync(chain, cancellationToken);
            var sites = (plan?.Clients ?? []).Select(static client => client.Site).Distinct(StringComparer.Ordinal);
            return Report(chain, [.. sites.Order(StringComparer.Ordinal)]);
        }

        public async Task<RunReport?> RunSiteAsync(string site, CancellationToken cancellationToken)
        {
            var ofJob = await jobStore.ListAsync(Keys.Job(job), cancellationToken).ToListAsync(cancellationToken);
            if (ofJob.Count == 0) return null;
            await ListSitesAsync(Keys.OwnedBy(job, site), cancellationToken);
            var chain = await ChainAsync(ofJob, cancellationToken);
            var plan = await ReadPlanAsync(cancellationToken);
            await HeadsAsync(chain, plan, looksElsewhere: false, cancellationToken, site);
            await RowsAsync(chain, cancellationToken);
            await StepPointsAsync(cancellationToken);
            await ExportsAsync(cancellationToken);
            await StepPointsAsync(cancellationToken);
            LeaveUnchecked(chain);
            return Report(chain, others: []);
        }

        private async Task<ManifestChain> ChainAsync(IEnumerable<string> keys, CancellationToken cancellationToken)
        {
            var manifests = keys.Select(key => Keys.ManifestOf(key, job)).OfType<(int, string)>().ToArray();
            return await ManifestChain.ReadAsync(jobStore, job, manifests, cancellationToken);
        }

        private async Task<FederationPlan?> RunJobAsync(ManifestChain chain, CancellationToken cancellationToken)
        {
            var plan = await PlanAsync(chain, cancellationToken);
            await FingerprintAsync(chain, cancellationToken);
            await SealedAsync(Keys.NoReference(job), "put it back, or delete it: the run begins its local-only reference without it",
                cancellationToken);
            await InputsAsync(chain, cancellationToken);
            Manifests(chain);
            await OriginAsync(chain, cancellationToken);
            await StatesAsync(chain, plan?.Checkpoints ?? new CheckpointSpec { KeepLast = 1 }, cancellationToken);
            return plan;
        }

        private async Task RunJobsEndAsync(ManifestChain chain, CancellationToken cancellationToken)
        {
            await SealedAsync(Keys.Memory(job), "delete it: the open round then begins again", cancellationToken);
            for (var round = 0; round <= chain.Last; round++)
                await SealedAsync(Keys.Timing(job, round), "delete it: how long the round took is then not known", cancellationToken);
            await IndexAsync(chain, cancellationToken);
            await StepPointsAsync(cancellationToken);
            LeaveUnchecked(chain);
        }

        private RunReport Report(ManifestChain chain, IReadOnlyList<string> others) => new()
        {
            LastRound = chain.Last, Digest = chain.Digest, Intact = _intact, Broken = _broken, Unchecked = [.. _unchecked],
            Leftovers = [.. _unaccounted], OtherSites = others, Changes = Changes(chain),
        };

        private async Task ListJobAsync(CancellationToken cancellationToken)
        {
            await foreach (var key in jobStore.ListAsync(Keys.Job(job), cancellationToken)) _unaccounted.Add(key);
            _newest = _unaccounted.Select(key => Keys.RoundOf(key, Keys.Rounds(job)) is { } round
                && (key == Keys.Timing(job, round) || Keys.ManifestOf(key, job) is not null) ? round : -1).DefaultIfEmpty(-1).Max();
            var memory = await jobStore.ReadBytesAsync(Keys.Memory(job), cancellationToken);
            if (memory is not null && CommitTraces.MemoryOf(memory) is { } known)
                _newest = Math.Max(_newest, known.State.Committed);
        }

        private async Task ListSitesAsync(string prefix, CancellationToken cancellationToken)
        {
            await foreach (var key in siteStore.ListAsync(prefix, cancellationToken))
            {
                if (Keys.OwnerOf(key, job) is not null) _siteKeys.Add(key);
            }

            _unaccounted.UnionWith(_siteKeys);
        }

        // Names the files whose digests the manifests hold by part.
        private async Task InputsAsync(ManifestChain chain, CancellationToken cancellationToken)
        {
            var key = Keys.Inputs(job);
            const string Lost = "which file of the base changed can no longer be told; the manifests hold the digest of each part";
            if (!_unaccounted.Contains(key) && chain.Rounds.Values.Any(static manifest => manifest.Base is not null))
                _broken.Add(new Finding(key, null, null, Lost));
            if (!await SealedAsync(key, Lost, cancellationToken)
                || await MadeWith.ReadAsync(jobStore, key, cancellationToken) is not var (made, blob)) return;
            // a record that was lost and made again says nothing of the rounds before
            var odd = chain.Rounds.Values.FirstOrDefault(manifest => manifest.Base is not null
                && made.BaseOf(manifest.Round) is { } recorded && recorded.Parts != manifest.Base);
            if (odd is null) return;
            _intact--;
            _broken.Add(new Finding(key, null, blob.Sha256, $"it names another base than the manifest of round {odd.Round}"));
        }

        private List<string> Changes(ManifestChain chain)
        {
            var changes = new List<string>();
            foreach (var manifest in chain.Rounds.Values)
            {
                var last = manifest.Round == 0 ? _originBase : chain.Rounds.GetValueOrDefault(manifest.Round - 1)?.Base;
                var parts = last is { } before && manifest.Base is { } now ? before.DifferingFrom(now) : [];
                var rows = manifest.Clients.Where(static client => client.Rows is not null).Select(static client => $"rows of {client.Id}");
                var changed = parts.Select(static part => $"{part} of the base").Concat(rows).ToArray();
                if (changed.Length > 0) changes.Add($"from round {manifest.Round} on: other {string.Join(", ", changed)}");
            }

            return changes;
        }

        // The newest plan, which is not the last that rounds were committed with where the run was just extended.
        private async Task<FederationPlan?> PlanAsync(ManifestChain chain, CancellationToken cancellationToken)
        {
            var expected = chain.Rounds.Values.Select(static manifest => manifest.PlanSha256).Distinct().ToList();
            var stored = new List<(string Key, byte[]? Yaml, string? Sha256)>();
            foreach (var key in await StoredPlans.KeysAsync(jobStore, job, cancellationToken))
            {
                _unaccounted.Remove(key);
                var yaml = await jobStore.ReadBytesAsync(key, cancellationToken);
                stored.Add((key, yaml, yaml is null ? null : RoundManifest.Digest(yaml)));
            }

            var missing = new Queue<string>(expected.Where(sha256 => stored.All(plan => plan.Sha256 != sha256)));
            FederationPlan? newest = null;
            foreach (var (key, yaml, sha256) in stored)
            {
                if (sha256 is not null && expected.Contains(sha256)) _intact++;
                else if (missing.TryDequeue(out var lost))
                {
                    _broken.Add(new Finding(key, lost, sha256, "it is not the plan that rounds were committed with; put that one back"));
                    newest = null;
                    continue;
                }
                else if (yaml is null) _broken.Add(new Finding(key, null, null, "what the run was to do is not known"));
                else _unchecked.Add(key); // no round was committed with it yet

                if (yaml is not null) newest = PlanReader.Read(Encoding.UTF8.GetString(yaml), key).Plan;
            }

            const string Needed = "it is a plan that rounds were committed with; put it back";
            foreach (var lost in missing) _broken.Add(new Finding(Keys.Extension(job, stored.Count), lost, null, Needed));
            return newest;
        }

        // Where it is broken the job's part says so, and a site knows its clients by what it keeps.
        private async Task<FederationPlan?> ReadPlanAsync(CancellationToken cancellationToken)
        {
            try
            {
                return await StoredPlans.NewestAsync(jobStore, job, cancellationToken) is var (blob, yaml, _)
                    ? PlanReader.Read(Encoding.UTF8.GetString(yaml), blob.Key).Plan
                    : null;
            }
            catch (CorruptBlobException)
            {
                return null;
            }
        }

        private async Task FingerprintAsync(ManifestChain chain, CancellationToken cancellationToken)
        {
            const string Meaning =
                "it no longer says on which engine the run was made; the manifests do, and fedrlora repair makes it again from them";
            var key = Keys.Fingerprint(job);
            if (await SealedAsync(key, Meaning, cancellationToken)) return;
            if (_broken.All(finding => finding.Key != key) && chain.Last >= 0) _broken.Add(new Finding(key, null, null, Meaning));
        }

        // What a fork goes on from: the manifest of the other run, and the states it names.
        private async Task OriginAsync(ManifestChain chain, CancellationToken cancellationToken)
        {
            var key = Keys.OriginManifest(job);
            var isThere = _unaccounted.Remove(key);
            if (chain.Origin is not { } expected)
            {
                if (isThere) _unchecked.Add(key); // round 0 is broken, or not committed yet
                LeaveUncheckedBelow(Keys.Origins(job));
                return;
            }

            var bytes = await jobStore.ReadBytesAsync(key, cancellationToken);
            var found = bytes is null ? null : RoundManifest.Digest(bytes);
            if (found != expected)
            {
                _broken.Add(new Finding(key, expected, found, "it is not the round of another run that this one goes on from"));
                LeaveUncheckedBelow(Keys.Origins(job));
                return;
            }

            _intact++;
            var manifest = RoundManifest.Parse(bytes, key);
            _originBase = manifest.Base;
            const string Lost = "a state that the run began from is lost";
            foreach (var blob in manifest.OriginStatesOf(job)) await NamedAsync(jobStore, blob, required: true, Lost, cancellationToken);
        }

        private void Manifests(ManifestChain chain)
        {
            _unaccounted.Remove(Keys.Current(job));
            if (chain.Current is { } current) _broken.Add(current);
            else if (chain.HasCurrent) _intact++;
            _broken.AddRange(chain.Broken);
            foreach (var broken in chain.Broken) _unaccounted.Remove(broken.Key);
            foreach (var (round, sha256) in chain.Digests)
            {
                var key = Keys.Manifest(job, round, sha256);
                _unaccounted.Remove(key);
                if (chain.Unchecked.Contains(round)) _unchecked.Add(key);
                else _intact++;
            }
        }

        private async Task StatesAsync(ManifestChain chain, CheckpointSpec checkpoints, CancellationToken cancellationToken)
        {
            // A run that went back keeps what was kept beside the round it lost.
            var newest = Math.Max(chain.Last, _newest);
            foreach (var manifest in chain.Rounds.Values)
            {
                var required = manifest.Round == chain.Last || Retention.KeepsShared(checkpoints, manifest.Round, newest);
                foreach (var blob in Retention.SharedOf(job, manifest))
                    await NamedAsync(jobStore, blob, required, $"a state of round {manifest.Round} is lost", cancellationToken);
            }
        }

        // Returns the sites of the plan that this store holds nothing of, where there may be stores elsewhere.
        private async Task<IReadOnlyList<string>> HeadsAsync(
            ManifestChain chain, FederationPlan? plan, bool looksElsewhere, CancellationToken cancellationToken, string? only = null)
        {
            var siteOf = new Dictionary<string, string>(StringComparer.Ordinal);
            foreach (var key in _siteKeys)
            {
                if (Keys.OwnerOf(key, job) is var (site, client)) siteOf[client] = site;
            }

            var here = siteOf.Values.ToHashSet(StringComparer.Ordinal);
            foreach (var client in plan?.Clients ?? []) siteOf[client.Id] = client.Site;
            var others = looksElsewhere
                ? siteOf.Values.Distinct(StringComparer.Ordinal).Where(site => !here.Contains(site)).Order(StringComparer.Ordinal).ToArray()
                : [];
            foreach (var manifest in chain.Rounds.Values.Reverse())
            {
                foreach (var blob in Retention.OwnedOf(job, manifest, client => siteOf.GetValueOrDefault(client, "unknown")))
                {
                    if (Keys.OwnerOf(blob.Key, job) is var (site, client) && !others.Contains(site) && (only is null || site == only))
                        await NamedAsync(
                            siteStore, blob, required: manifest.Round == chain.Last,
                            $"client {client} cannot go on from round {manifest.Round}, nor be exported", cancellationToken);
                }
            }

            return others;
        }

        private async Task RowsAsync(ManifestChain chain, CancellationToken cancellationToken)
        {
            var worked = MadeWith.Of(chain.Rounds.Values)?.Worked(chain.Rounds.GetValueOrDefault(chain.Last)) ?? [];
            foreach (var (site, client) in Owners())
            {
                var key = Keys.Rows(job, site, client);
                const string Unknown = "whether the client's rows changed can not be told; go on with --allow-data-change";
                if (!_siteKeys.Contains(key) && worked.Contains(client)) _broken.Add(new Finding(key, null, null, Unknown));
                await SealedAsync(key, Unknown, cancellationToken, siteStore);
                const string NotNeeded = "delete it: it serves comparisons of runs alone, and the client's next scoring writes it again";
                await SealedAsync(Keys.RowScores(job, site, client), NotNeeded, cancellationToken, siteStore);
            }
        }

        // Of every round that was trained, committed or not.
        private async Task StepPointsAsync(CancellationToken cancellationToken)
        {
            string[] prefixes = [Keys.SentStepPointsOf(job), .. Owners().Select(owner => Keys.StepPointsOf(job, owner.Site, owner.Client))];
            foreach (var key in _unaccounted.ToArray())
            {
                if (Keys.RoundOfStepPoints(key) is null) continue;
                if (!prefixes.Any(prefix => key.StartsWith(prefix, StringComparison.Ordinal))) continue;
                _unaccounted.Remove(key);
                var store = _siteKeys.Contains(key) ? siteStore : jobStore;
                if (await store.ReadBytesAsync(key, cancellationToken) is not { } bytes) continue;
                if (StepPointsFile.Check(bytes) is { } problem)
                    _broken.Add(new Finding(key, problem.Expected, problem.Found, StepPointsFile.WayOut));
                else _intact++;
            }
        }

        private async Task ExportsAsync(CancellationToken cancellationToken)
        {
            const string Again = "export the adapter again";
            foreach (var (site, client) in Owners())
            {
                var (key, prefix) = (Keys.ExportDigests(job, site, client), Keys.Export(job, site, client));
                if (!_siteKeys.Contains(key)) continue;
                if (!await SealedAsync(key, Again, cancellationToken, siteStore))
                {
                    LeaveUncheckedBelow(prefix);
                    continue;
                }

                var bytes = await siteStore.ReadBytesAsync(key, cancellationToken) ?? throw new CorruptBlobException($"{key} is missing.");
                foreach (var (file, digest) in StoredExports.Read(bytes, key))
                    await NamedAsync(siteStore, digest.At(prefix + file), required: true, Again, cancellationToken);
            }
        }

        // Whose files are in the site store.
        private IEnumerable<(string Site, string Client)> Owners() =>
            _siteKeys.Select(key => Keys.OwnerOf(key, job)!.Value).Distinct().Order();

        private async Task IndexAsync(ManifestChain chain, CancellationToken cancellationToken)
        {
            var key = Keys.IndexOf(job);
            if (await jobStore.ReadBytesAsync(key, cancellationToken) is not { } mark)
            {
                if (chain.Last < 0) return;
                _broken.Add(new Finding(key, null, null, "the run is in no list of runs; fedrlora repair puts it back"));
                return;
            }

            if (mark.AsSpan().SequenceEqual(JobsGrain.Running) || mark.AsSpan().SequenceEqual(JobsGrain.Over)) _intact++;
            else _broken.Add(new Finding(
                key, $"{RoundManifest.Digest(JobsGrain.Over)} or {RoundManifest.Digest(JobsGrain.Running)}", RoundManifest.Digest(mark),
                "it says neither \"over\" nor \"running\""));
        }

        private async Task<bool> SealedAsync(string key, string meaning, CancellationToken cancellationToken, IBlobStore? store = null)
        {
            _unaccounted.Remove(key);
            if (await (store ?? jobStore).ReadBytesAsync(key, cancellationToken) is not { } bytes) return false;
            if (SealedJson.Check(bytes) is not { } problem)
            {
                _intact++;
                return true;
            }

            _broken.Add(new Finding(key, problem.Expected, problem.Found, meaning));
            return false;
        }

        private async Task NamedAsync(IBlobStore store, BlobRef blob, bool required, string meaning, CancellationToken cancellationToken)
        {
            var listed = _unaccounted.Remove(blob.Key);
            if (!listed && !required) return; // let go, or checked for a later round
            if (!_checked.Add(blob)) return;
            await using var opened = await store.OpenAsync(blob.Key, cancellationToken);
            if (opened is null)
            {
                if (required) _broken.Add(new Finding(blob.Key, blob.Sha256, null, meaning));
                return;
            }

            var found = await opened.DigestAsync(cancellationToken);
            if (found == blob.Sha256) _intact++;
            else _broken.Add(new Finding(blob.Key, blob.Sha256, found, meaning));
        }

        // What a broken manifest would have named cannot be told from what nobody names.
        private void LeaveUnchecked(ManifestChain chain)
        {
            var broken = Enumerable.Range(0, chain.Last + 1).Where(round => !chain.Rounds.ContainsKey(round)).ToHashSet();
            if (broken.Count == 0) return;
            foreach (var key in _unaccounted.ToArray())
            {
                if (_siteKeys.Contains(key) || (Keys.RoundOf(key, Keys.Rounds(job)) is { } round && broken.Contains(round)))
                    LeaveUnchecked(key);
            }
        }

        private void LeaveUncheckedBelow(string prefix)
        {
            foreach (var key in _unaccounted.Where(key => key.StartsWith(prefix, StringComparison.Ordinal)).ToArray()) LeaveUnchecked(key);
        }

        private void LeaveUnchecked(string key)
        {
            _unaccounted.Remove(key);
            _unchecked.Add(key);
        }
    }
}
