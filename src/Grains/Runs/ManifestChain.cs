using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Ports;
using FedRLora.Grains.Store;
using FedRLora.Grains.Upkeep;

namespace FedRLora.Grains.Runs;

/// <summary>
/// A run's manifests followed back from current.json to round 0, past broken ones: the manifest before a broken one is taken as it
/// is, and counts as unchecked unless what is left of the broken one names it.
/// </summary>
internal sealed class ManifestChain
{
    private const string Untold = "which round was committed last cannot be told; fedrlora repair goes back to the newest that holds";
    private readonly SortedDictionary<int, Finding> _broken = [];

    /// <summary>The last committed round; -1 where none is.</summary>
    public int Last { get; private set; } = -1;

    /// <summary>The digest of the last manifest, as current.json names it.</summary>
    public string? Digest { get; private set; }

    /// <summary>The digest of the manifest of another run that round 0 goes on from; null where the run is no fork.</summary>
    public string? Origin { get; private set; }

    /// <summary>What is wrong with current.json.</summary>
    public Finding? Current { get; private set; }

    /// <summary>Whether current.json is there.</summary>
    public bool HasCurrent { get; private set; }

    /// <summary>Manifests that can be relied on, by round.</summary>
    public SortedDictionary<int, RoundManifest> Rounds { get; } = [];

    /// <summary>Their digests.</summary>
    public Dictionary<int, string> Digests { get; } = [];

    /// <summary>Rounds whose manifest nothing vouches for, because what names it is broken.</summary>
    public HashSet<int> Unchecked { get; } = [];

    /// <summary>Broken manifests, oldest first.</summary>
    public IEnumerable<Finding> Broken => _broken.Values;

    /// <summary>Follows the chain.</summary>
    /// <param name="store">The job's store.</param>
    /// <param name="job">The job.</param>
    /// <param name="stored">The manifests that are stored.</param>
    /// <param name="cancellationToken">The caller's token.</param>
    public static async Task<ManifestChain> ReadAsync(
        IBlobStore store, string job, IReadOnlyCollection<(int Round, string Sha256)> stored, CancellationToken cancellationToken)
    {
        var chain = new ManifestChain();
        var key = Keys.Current(job);
        if (await store.ReadBytesAsync(key, cancellationToken) is { } bytes) chain.Begin(key, bytes);
        else if (await CommitTraces.FindAsync(store, job, cancellationToken) is not null)
            chain.Current = new Finding(key, null, null, Untold);
        var newest = stored.Select(static one => one.Round).DefaultIfEmpty(-1).Max();
        if (chain.Current is not null) chain.Last = newest; // a guess to go on with
        var expected = chain.Digest;
        for (var round = chain.Last; round >= 0; round = expected is null ? Math.Min(round - 1, newest) : round - 1)
        {
            // Where nothing names the manifest, one that is what its key says is taken.
            var sha256 = expected ?? stored.FirstOrDefault(one => one.Round == round).Sha256;
            var manifest = Keys.Manifest(job, round, sha256 ?? "*");
            var content = sha256 is null ? null : await store.ReadBytesAsync(manifest, cancellationToken);
            expected = chain.Follow(manifest, round, sha256, isNamed: expected is not null, content);
        }

        chain.Origin = expected;
        return chain;
    }

    private void Begin(string key, byte[] bytes)
    {
        HasCurrent = true;
        if (SealedJson.Check(bytes) is { } problem)
        {
            Current = new Finding(key, problem.Expected, problem.Found, Untold);
            return;
        }

        try
        {
            var current = CurrentRound.Parse(bytes, key);
            (Last, Digest) = (current.Round, current.ManifestSha256);
        }
        catch (BadInputException)
        {
            Current = new Finding(key, null, RoundManifest.Digest(bytes), Untold); // sealed, but of another version
        }
    }

    // Returns the digest that the round before must have; null where that is not known.
    private string? Follow(string key, int round, string? expected, bool isNamed, byte[]? bytes)
    {
        var found = bytes is null ? null : RoundManifest.Digest(bytes);
        var manifest = bytes is null ? null : TryParse(bytes, key);
        var linked = manifest is not null && manifest.Round == round && (round == 0 || manifest.Previous is not null);
        if (linked && found == expected)
        {
            (Rounds[round], Digests[round]) = (manifest!, found!);
            if (!isNamed) Unchecked.Add(round);
            return manifest!.Previous;
        }

        var namedBy = round == Last ? "current.json" : $"the manifest of round {round + 1}";
        var meaning = found == expected
            ? "it is no manifest of its round"
            : $"it is not the link that {namedBy} names; what it says of its round cannot be relied on";
        _broken[round] = new Finding(key, expected, found, meaning);
        return null;
    }

    /// <summary>The manifest in a blob; null where it is none.</summary>
    internal static RoundManifest? TryParse(byte[] bytes, string key)
    {
        try
        {
            return RoundManifest.Parse(bytes, key);
        }
        catch (BadInputException)
        {
            return null; // reported by the caller
        }
    }
}
