using System.Globalization;

namespace FedRLora.Abstractions;

/// <summary>Every grain key and blob key, built in one place. Ids are letters, digits, dot, dash and underscore.</summary>
public static class Keys
{
    /// <summary>Key of the one jobs grain.</summary>
    public const string Jobs = "jobs";

    private const int DigestLength = 64;

    /// <summary>Grain key of a site's part of a job.</summary>
    public static string Site(string job, string site) => $"{job}/{site}";

    /// <summary>Grain key of a client.</summary>
    public static string Client(string job, string site, string client) => $"{job}/{site}/{client}";

    /// <summary>The job of a site's or a client's grain key.</summary>
    public static string JobOf(string grainKey) => grainKey.Split('/')[0];

    /// <summary>The site of a site's or a client's grain key.</summary>
    public static string SiteOf(string grainKey) => grainKey.Split('/')[1];

    /// <summary>Blob prefix of a job.</summary>
    public static string Job(string job) => $"jobs/{job}/";

    /// <summary>Which cluster works on the store.</summary>
    public const string ClusterLease = "cluster/lease.json";

    /// <summary>Prefix of the records of what was done.</summary>
    public const string Audit = "audit/";

    /// <summary>Prefix of the record of what was done through a silo.</summary>
    public static string AuditOf(string silo) => $"{Audit}{silo}/";

    /// <summary>A line of the record of a silo, the first of which is 1.</summary>
    public static string AuditLine(string silo, int number) => string.Create(CultureInfo.InvariantCulture,
        $"{AuditOf(silo)}{number:D8}.json");

    /// <summary>The silo and the number of a line's key; null where the key is none.</summary>
    public static (string Silo, int Number)? AuditLineOf(string key) =>
        key.Split('/') is ["audit", var silo, [.. var digits, '.', 'j', 's', 'o', 'n']]
        && int.TryParse(digits, NumberStyles.None, CultureInfo.InvariantCulture, out var number) && key == AuditLine(silo, number)
            ? (silo, number) : null;

    /// <summary>Prefix of the list of jobs.</summary>
    public const string Index = "index/";

    /// <summary>A job's entry in the list of jobs.</summary>
    public static string IndexOf(string job) => Index + job;

    /// <summary>The plan's text.</summary>
    public static string Plan(string job) => $"jobs/{job}/plan.yaml";

    /// <summary>The plan's text after an extension, the first of which is 1.</summary>
    public static string Extension(string job, int extension) =>
        string.Create(CultureInfo.InvariantCulture, $"jobs/{job}/extensions/{extension}.yaml");

    /// <summary>Prefix of the extended plans.</summary>
    public static string Extensions(string job) => $"jobs/{job}/extensions/";

    /// <summary>There where a run begins no local-only reference though its plan asks for one: who submitted it left it out.</summary>
    public static string NoReference(string job) => $"jobs/{job}/no-reference.json";

    /// <summary>Prefix of what a fork starts from.</summary>
    public static string Origins(string job) => $"jobs/{job}/origin/";

    /// <summary>A copy of the manifest that a fork starts from.</summary>
    public static string OriginManifest(string job) => Origins(job) + "manifest.json";

    /// <summary>A copy of the shared state that a fork starts from.</summary>
    public static string OriginShared(string job, string sha256) => $"{Origins(job)}shared-{sha256}.safetensors";

    /// <summary>A copy of the server optimizer state that a fork starts from.</summary>
    public static string OriginServerOptimizer(string job, string sha256) => $"{Origins(job)}server-optimizer-{sha256}.safetensors";

    /// <summary>A copy of the state of a task that a fork starts from.</summary>
    public static string OriginTaskShared(string job, string task, string sha256) =>
        $"{Origins(job)}shared-of-{Identifiers.Of(task)}-{sha256}.safetensors";

    /// <summary>A copy of the server optimizer state of a task that a fork starts from.</summary>
    public static string OriginTaskServerOptimizer(string job, string task, string sha256) =>
        $"{Origins(job)}server-optimizer-of-{Identifiers.Of(task)}-{sha256}.safetensors";

    /// <summary>Which runs of trackers stand for a job.</summary>
    public static string Tracked(string job) => $"trackers/{job}.json";

    /// <summary>The engine fingerprint.</summary>
    public static string Fingerprint(string job) => $"jobs/{job}/fingerprint.json";

    /// <summary>What a run was made with besides its plan: the digests of its base.</summary>
    public static string Inputs(string job) => $"jobs/{job}/inputs.json";

    /// <summary>Salted digests of a client's rows, in its site's store and nowhere else.</summary>
    public static string Rows(string job, string site, string client) => Owned(job, site, client, "rows.json");

    /// <summary>What a client's last scoring said of each row, in its site's store and nowhere else.</summary>
    public static string RowScores(string job, string site, string client) => Owned(job, site, client, "row-scores.json");

    /// <summary>
    /// A client's points of a round's steps, in its site's store. Not below the round's other files, which go when it is superseded.
    /// </summary>
    public static string StepPoints(string job, string site, string client, int round) =>
        string.Create(CultureInfo.InvariantCulture, $"{StepPointsOf(job, site, client)}{round}.jsonl");

    /// <summary>Prefix of a client's points, in its site's store.</summary>
    public static string StepPointsOf(string job, string site, string client) => Owned(job, site, client, "steps/");

    /// <summary>A client's points of a round's steps in the job's store, where the site lets them leave.</summary>
    public static string SentStepPoints(string job, string client, int round) =>
        string.Create(CultureInfo.InvariantCulture, $"{SentStepPointsOf(job)}{client}/{round}.jsonl");

    /// <summary>Prefix of points in the job's store.</summary>
    public static string SentStepPointsOf(string job) => $"jobs/{job}/steps/";

    /// <summary>The round of a key of points; null where the key is none.</summary>
    public static int? RoundOfStepPoints(string key)
    {
        const string End = ".jsonl";
        if (key.Split('/') is not [.., var last] || !last.EndsWith(End, StringComparison.Ordinal)) return null;
        return int.TryParse(last.AsSpan(0, last.Length - End.Length), NumberStyles.None, CultureInfo.InvariantCulture, out var round)
            ? round : null;
    }

    /// <summary>The commit pointer.</summary>
    public static string Current(string job) => $"jobs/{job}/current.json";

    /// <summary>What a grain remembers under a name.</summary>
    public static string GrainState(string name, string grain) => $"grains/{name}/{grain}.json";

    /// <summary>What a coordinator remembers of a job's open round.</summary>
    public static string Memory(string job) => GrainState("job", job);

    /// <summary>Blob prefix of a job's rounds.</summary>
    public static string Rounds(string job) => $"jobs/{job}/rounds/";

    /// <summary>Blob prefix of a round.</summary>
    public static string Round(string job, int round) => Round(job, round, "");

    /// <summary>How long each round took: outside every digest.</summary>
    public static string Timing(string job, int round) => Round(job, round, "timing.json");

    /// <summary>A round's manifest with a digest: two coordinators that differ write two blobs.</summary>
    public static string Manifest(string job, int round, string sha256) => Round(job, round, $"manifest-{sha256}.json");

    /// <summary>A round's shared state with a digest.</summary>
    public static string Shared(string job, int round, string sha256) => Round(job, round, $"shared-{sha256}.safetensors");

    /// <summary>A round's server optimizer state with a digest.</summary>
    public static string ServerOptimizer(string job, int round, string sha256) =>
        Round(job, round, $"server-optimizer-{sha256}.safetensors");

    /// <summary>What the clients of a task share after a round, with its digest.</summary>
    public static string TaskShared(string job, int round, string task, string sha256) =>
        Round(job, round, $"shared-of-{Identifiers.Of(task)}-{sha256}.safetensors");

    /// <summary>The server optimizer state of a task after a round, with its digest.</summary>
    public static string TaskServerOptimizer(string job, int round, string task, string sha256) =>
        Round(job, round, $"server-optimizer-of-{Identifiers.Of(task)}-{sha256}.safetensors");

    /// <summary>A round's manifest as versions before 0.1 named it, which this one does not read.</summary>
    public static string UndigestedManifest(string job, int round) => Round(job, round, "manifest.json");

    /// <summary>Prefix of what an attempt wrote; deleted after the commit, beside the next round.</summary>
    public static string Attempt(string job, int round, int attempt) =>
        Round(job, round, string.Create(CultureInfo.InvariantCulture, $"{attempt}/"));

    /// <summary>A client's update.</summary>
    public static string Update(string job, int round, int attempt, string client) =>
        Round(job, round, string.Create(CultureInfo.InvariantCulture, $"{attempt}/updates/{client}.safetensors"));

    /// <summary>A client's head after a round, in its site's store.</summary>
    public static string Head(string job, string site, string client, int round) =>
        Owned(job, site, client, string.Create(CultureInfo.InvariantCulture, $"{round}/head.safetensors"));

    /// <summary>A client's optimizer state after a round, in its site's store.</summary>
    public static string Optimizer(string job, string site, string client, int round) =>
        Owned(job, site, client, string.Create(CultureInfo.InvariantCulture, $"{round}/optimizer.safetensors"));

    /// <summary>Prefix of a client's exported adapter, in its site's store.</summary>
    public static string Export(string job, string site, string client) => Owned(job, site, client, "export/");

    /// <summary>Digests of an exported adapter's files, written after them.</summary>
    public static string ExportDigests(string job, string site, string client) => Owned(job, site, client, "export/digests.json");

    /// <summary>Prefix of what sites own.</summary>
    public const string Sites = "sites/";

    /// <summary>Prefix of what a site owns of a job.</summary>
    public static string OwnedBy(string job, string site) => $"sites/{site}/jobs/{job}/";

    /// <summary>Prefix of what a client owns at its site.</summary>
    public static string Owned(string job, string site, string client) => Owned(job, site, client, "");

    private static string Owned(string job, string site, string client, string rest) => $"sites/{site}/jobs/{job}/clients/{client}/{rest}";

    /// <summary>
    /// The round that a key under <paramref name="prefix"/> belongs to, as in <c>PREFIX7/timing.json</c>; null where the key is not of that
    /// form.
    /// </summary>
    public static int? RoundOf(string key, string prefix) =>
        key.StartsWith(prefix, StringComparison.Ordinal) && key.IndexOf('/', prefix.Length) is var end and >= 0
        && int.TryParse(key.AsSpan(prefix.Length, end - prefix.Length), NumberStyles.None, CultureInfo.InvariantCulture, out var round)
            ? round
            : null;

    /// <summary>The round and the digest of a manifest's key; null where the key is none of the job's manifests.</summary>
    public static (int Round, string Sha256)? ManifestOf(string key, string job)
    {
        const string Before = "/manifest-", After = ".json";
        if (RoundOf(key, Rounds(job)) is not { } round) return null;
        if (!key.EndsWith(After, StringComparison.Ordinal) || key.Length < DigestLength + After.Length) return null;
        var sha256 = key[^(DigestLength + After.Length)..^After.Length];
        var isManifest = key.AsSpan(0, key.Length - sha256.Length - After.Length).EndsWith(Before) && key == Manifest(job, round, sha256);
        return isManifest ? (round, sha256) : null;
    }

    /// <summary>
    /// Whether a key is a manifest or an aggregated state of a round: what a round holds before it is committed, besides updates.
    /// </summary>
    public static bool IsAggregated(string key, string job, int round) => ManifestOf(key, job)?.Round == round || IsState(key, job, round);

    /// <summary>Whether a key is an aggregated state of a round, whatever its digest.</summary>
    public static bool IsState(string key, string job, int round) =>
        key.StartsWith(Round(job, round, "shared-"), StringComparison.Ordinal)
        || key.StartsWith(Round(job, round, "server-optimizer-"), StringComparison.Ordinal);

    /// <summary>The site and the client that own a key of a job in a site's store; null where the key is none.</summary>
    public static (string Site, string Client)? OwnerOf(string key, string job) =>
        key.Split('/', 7) is ["sites", var site, "jobs", var of, "clients", var client, _] && of == job ? (site, client) : null;

    private static string Round(string job, int round, string rest) =>
        string.Create(CultureInfo.InvariantCulture, $"jobs/{job}/rounds/{round}/{rest}");
}
