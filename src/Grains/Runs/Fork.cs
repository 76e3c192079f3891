using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;
using FedRLora.Abstractions.Tensors;
using FedRLora.Federation.Rounds;
using FedRLora.Grains.Store;

namespace FedRLora.Grains.Runs;

/// <summary>
/// Makes the start of a fork: copies of what a committed round of another job names, under the new job's keys. The copy of the
/// manifest is written last and is what makes the job a fork.
/// </summary>
public static class Fork
{
    /// <summary>What a job starts from; null where it is no fork.</summary>
    public static async Task<Origin?> OriginAsync(IBlobStore store, string job, CancellationToken cancellationToken)
    {
        var key = Keys.OriginManifest(job);
        if (await store.ReadBytesAsync(key, cancellationToken) is not { } bytes) return null;
        try
        {
            return Origin.Of(RoundManifest.Parse(bytes, key), RoundManifest.Digest(bytes));
        }
        catch (BadInputException e)
        {
            throw new CorruptBlobException($"{e.Message.TrimEnd('.')}; put it back, or fork again under another name.");
        }
    }

    /// <summary>What a job that has committed nothing starts from; null where it is no fork.</summary>
    /// <param name="store">The job's store.</param>
    /// <param name="job">The job.</param>
    /// <param name="sha256">The digest of the manifest that it was begun from; null where none is noted.</param>
    /// <param name="cancellationToken">The caller's token.</param>
    /// <exception cref="CorruptBlobException">The start, or a part of it, is missing or was changed.</exception>
    public static async Task<Origin?> OriginAsync(IBlobStore store, string job, string? sha256, CancellationToken cancellationToken)
    {
        var key = Keys.OriginManifest(job);
        const string Again = "put it back, or fork again under another name";
        var origin = await OriginAsync(store, job, cancellationToken);
        if (origin is null
            && (sha256 is not null || await store.ListAsync(Keys.Origins(job), cancellationToken).AnyAsync(cancellationToken)))
            throw new CorruptBlobException($"{key} is missing, so the fork was not copied whole or its start is lost; {Again}.");
        if (sha256 is not null && origin!.Sha256 != sha256)
            throw new CorruptBlobException($"{key} has digest {origin.Sha256}, expected {sha256}; {Again}.");
        if (origin is null) return null;
        foreach (var blob in origin.Manifest.OriginStatesOf(job)) await store.RequireAsync(blob, cancellationToken);
        return origin;
    }

    /// <summary>Whether a plan can go on from a round of a run.</summary>
    /// <exception cref="BadInputException">It cannot; the message says why.</exception>
    public static async Task<RoundManifest> CheckAsync(
        IBlobStore from, string source, int round, FederationPlan plan, CancellationToken cancellationToken)
    {
        var log = new CommitLog(from, source);
        var current = await log.ReadAsync(cancellationToken)
            ?? throw new BadInputException($"Run {source} has committed nothing; there is no round to fork from.");
        if (round < 0 || round > current.Round)
            throw new BadInputException($"Run {source} has committed rounds 0 to {current.Round}, not {round}.");
        var (manifest, _) = (await log.ManifestsAsync(round, round, current, cancellationToken))[0];
        var yaml = await StoredPlans.FindAsync(from, source, manifest.PlanSha256, cancellationToken);
        var before = PlanReader.Require(System.Text.Encoding.UTF8.GetString(yaml), Keys.Plan(source));
        PlanText.RequireValues(before, source, manifest.Engine);
        if (before.Model.Path != plan.Model.Path && manifest.Base is null) // else its content is compared, wherever it lies
            throw new BadInputException($"A fork keeps the base model: {source} has {before.Model.Path}, the plan {plan.Model.Path}.");
        var isSame = before.Model.Storage == plan.Model.Storage || (before.Model.IsExact && plan.Model.IsExact);
        if (!isSame)
        {
            throw new BadInputException($"A fork keeps the numbers that the heads of {source} were trained beside: give the plan "
                + $"model.storage: {before.Model.Storage.Word()} (it has {plan.Model.Storage.Word()}), or begin a new run with its own.");
        }

        if (before.Sharing != plan.Sharing)
        {
            throw new BadInputException($"A fork keeps what {source} shares: give the plan sharing: "
                + $"{Word(before.Sharing)}, or begin a new run with it.");
        }

        if (PlanText.Of(before.Adapter) != PlanText.Of(plan.Adapter))
        {
            throw new BadInputException($"A fork keeps the adapter of {source}, {Difference(before.Adapter, plan.Adapter)}: "
                + "give the plan the same adapter section, or begin a new run with it.");
        }

        RequireUncounted(before, source, round);
        if (before.StatisticFamilies.FirstOrDefault(static family => family.IsCarried) is { } carried
            && !before.Clients.Select(static client => client.Id).ToHashSet(StringComparer.Ordinal)
                .SetEquals(plan.Clients.Select(static client => client.Id)))
        {
            throw new BadInputException($"A fork keeps the clients of {source}, whose statistics {carried.Name} are the mean over all of "
                + "them: give the plan the same clients, or begin a new run with it.");
        }

        var sites = before.Clients.ToDictionary(static client => client.Id, static client => client.Site, StringComparer.Ordinal);
        if (plan.Clients.FirstOrDefault(client => sites.TryGetValue(client.Id, out var site) && site != client.Site) is { } moved)
        {
            throw new BadInputException($"Client {moved.Id} has its head at site {sites[moved.Id]}, "
                + $"from which it does not go to {moved.Site}; give that client another id.");
        }

        if (LeftAlone(before, plan) is { } other)
        {
            throw new BadInputException($"Client {other.Id} alone moved the head of another task in {source}, whose moments it keeps; "
                + $"give it another id for task {other.Task}, or the plan training.moments: reset.");
        }

        return manifest;
    }

    // The rounds of a fork are counted from 1 again, so what the lifecycle has made by a round would not be known in them.
    private static void RequireUncounted(FederationPlan before, string source, int round)
    {
        bool IsChanged(int at) => before.AdapterAt(at) is { Links: > 0 } or { IsMasked: true };
        if (!IsChanged(round)) return;
        var last = Enumerable.Range(0, round).Last(earlier => !IsChanged(earlier));
        throw new BadInputException($"Round {round} of {source} holds links or a mask that its lifecycle made, and a fork counts its "
            + $"rounds from 1 again: fork from round {last} or before.");
    }

    // A client that goes from a task of its own to another of its own, with moments of the head that it leaves.
    private static ClientSpec? LeftAlone(FederationPlan before, FederationPlan plan)
    {
        if (!plan.Adapter.Has(Scope.Task) || plan.Training.Moments == Moments.Reset) return null;
        static IReadOnlyDictionary<string, string> Alone(FederationPlan plan) => plan.Clients.GroupBy(static client => client.Task)
            .Where(static task => task.Count() == 1)
            .ToDictionary(static task => task.Single().Id, static task => task.Key, StringComparer.Ordinal);
        var (was, now) = (Alone(before), Alone(plan));
        return plan.Clients.FirstOrDefault(client =>
            was.TryGetValue(client.Id, out var left) && now.TryGetValue(client.Id, out var task) && left != task);
    }

    /// <summary>Whether the base of a plan takes what the clients of a run share after a round.</summary>
    /// <exception cref="BadInputException">Its layers have other sizes or names, or it is not usable.</exception>
    public static async Task RequireFitsAsync(
        ITrainer trainer, FederationPlan plan, IBlobStore store, string source, RoundManifest manifest, CancellationToken cancellationToken)
    {
        var initial = await trainer.InitialSharedAsync(plan, cancellationToken);
        RequireFits(initial, await store.ReadStateAsync(manifest.SharedOf(source), cancellationToken), plan.Model.Path, source);
        if (manifest.Tasks is not [var first, ..]) return;
        initial = await trainer.InitialOfTaskAsync(plan, first.Task, cancellationToken); // those of all tasks have the same shapes
        RequireFits(initial, await store.ReadStateAsync(first.SharedOf(source), cancellationToken), plan.Model.Path, source);
    }

    private static void RequireFits(AdapterState initial, AdapterState shared, string model, string source)
    {
        const string Help = "give a base with the same layers";
        if (initial.Keys.FirstOrDefault(name => StatisticFamily.IsStatistic(name) && !shared.ContainsKey(name)) is { } missing)
        {
            throw new BadInputException($"Run {source} has no {missing}, which its objectives need of every task and layer: a fork keeps "
                + "the tasks there; give the plan no new one, or begin a new run with it.");
        }

        foreach (var (name, array) in shared)
        {
            // Of a task that the fork has no client of: nobody adds to it any more.
            if (StatisticFamily.IsStatistic(name) && !initial.ContainsKey(name)) continue;
            if (!initial.TryGetValue(name, out var own))
                throw new BadInputException($"{model}: has no layer for {name}, which run {source} trained; {Help}.");
            if (own.Shape.SequenceEqual(array.Shape)) continue;
            var (here, there) = (string.Join(", ", own.Shape), string.Join(", ", array.Shape));
            throw new BadInputException($"{model}: {name} would have shape [{here}], in run {source} it has [{there}]; {Help}.");
        }
    }

    /// <summary>
    /// Copies the shared state, the server optimizer's state and, when all in the store is durable, the manifest; returns its digest.
    /// </summary>
    /// <exception cref="BadInputException">Somebody else is making a fork of that name.</exception>
    public static async Task<string> CopySharedAsync(
        IBlobStore from, string source, RoundManifest manifest, IBlobStore to, string job, CancellationToken cancellationToken)
    {
        var key = Keys.OriginManifest(job);
        string? etag; // of what an earlier fork of that name, which came to nothing, left
        await using (var left = await to.OpenAsync(key, cancellationToken)) etag = left?.ETag;
        foreach (var (blob, copy) in Retention.SharedOf(source, manifest).Zip(manifest.OriginStatesOf(job)))
            await CopyAsync(from, blob, to, copy.Key, cancellationToken);
        await to.MakeDurableAsync(cancellationToken);
        try
        {
            return (await to.WriteBytesAsync(key, manifest.ToBytes(), WriteCondition.Unchanged(etag), cancellationToken)).Ref.Sha256;
        }
        catch (BlobConflictException e)
        {
            throw new BadInputException($"Somebody else is making a fork {job}; fork under another name.", e);
        }
    }

    /// <summary>Copies what clients of a site owned, from and to the site's own stores.</summary>
    public static async Task CopyOwnedAsync(
        IBlobStore from, string source, IEnumerable<ManifestClient> owners, IBlobStore to, string job, string site,
        CancellationToken cancellationToken)
    {
        foreach (var owner in owners)
        {
            if (owner.Head is { } head)
            {
                var owned = head.At(Keys.Head(source, site, owner.Id, owner.HeadRound));
                await CopyAsync(from, owned, to, Keys.Head(job, site, owner.Id, 0), cancellationToken);
            }

            if (owner.Optimizer is { } optimizer)
            {
                var owned = optimizer.At(Keys.Optimizer(source, site, owner.Id, owner.HeadRound));
                await CopyAsync(from, owned, to, Keys.Optimizer(job, site, owner.Id, 0), cancellationToken);
            }
        }
    }

    /// <summary>Deletes the start of a fork that came to nothing.</summary>
    public static async Task ForgetAsync(IBlobStore store, string job, CancellationToken cancellationToken)
    {
        var left = await store.ListAsync(Keys.Origins(job), cancellationToken).ToListAsync(cancellationToken);
        foreach (var key in left) await store.DeleteAsync(key, cancellationToken);
    }

    private static async Task CopyAsync(IBlobStore from, BlobRef blob, IBlobStore to, string key, CancellationToken cancellationToken)
    {
        await using var opened = await from.OpenAsync(blob.Key, cancellationToken)
            ?? throw new BadInputException(
                $"{blob.Key} is not kept any more; fork from a later round, or keep more of them with checkpoints.keepEvery.");
        var written = await to.WriteAsync(
            key, (stream, token) => opened.Content.CopyToAsync(stream, token), WriteCondition.Any, cancellationToken);
        if (written.Ref.Sha256 == blob.Sha256) return;
        await to.DeleteAsync(key, cancellationToken);
        throw new CorruptBlobException($"{blob.Key} has digest {written.Ref.Sha256}, expected {blob.Sha256}.");
    }

    // What a reader has to look for in a section of many values.
    private static string Difference(AdapterSpec before, AdapterSpec now)
    {
        if (before.Method != now.Method) return $"which is {before.Method} and the plan's {now.Method}";
        var scoped = before.Roles.Select(static role => role.Name).Where(now.Has)
            .FirstOrDefault(name => before.Tensor(name).Scope != now.Tensor(name).Scope);
        return scoped is null
            ? "of which the plan has other values"
            : $"whose {scoped} has scope {Word(before.Tensor(scoped).Scope)} and the plan's {Word(now.Tensor(scoped).Scope)}";
    }

    private static string Word<T>(T value) where T : struct, Enum => value.ToString().ToLowerInvariant();
}
