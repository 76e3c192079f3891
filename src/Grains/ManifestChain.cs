using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Ports;

namespace FedRLora.Grains;

/// <summary>
/// A run's manifests followed back from current.json to round 0, past broken ones: the manifest before a broken one is taken as it
/// is, and counts as unchecked unless what is left of the broken one names it.
/// </summary>
internal sealed class ManifestChain
{
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

    /// <summary>Rounds whose manifest nothing vouches for, because what names it is broken.</summary>
    public HashSet<int> Unchecked { get; } = [];

    /// <summary>Broken manifests, oldest first.</summary>
    public IEnumerable<Finding> Broken => _broken.Values;

    /// <summary>Follows the chain.</summary>
    /// <param name="store">The job's store.</param>
    /// <param name="job">The job.</param>
    /// <param name="stored">The rounds whose manifest is stored.</param>
    /// <param name="cancellationToken">The caller's token.</param>
    public static async Task<ManifestChain> ReadAsync(IBlobStore store, string job, IReadOnlyCollection<int> stored, CancellationToken cancellationToken)
    {
        var chain = new ManifestChain();
        var key = Keys.Current(job);
        if (await store.ReadBytesAsync(key, cancellationToken) is { } bytes) chain.Begin(key, bytes);
        else if (stored.Any(static round => round > 0)) chain.Current = new Finding(key, null, null, "which round was committed last cannot be told");
        if (chain.Current is not null) chain.Last = stored.DefaultIfEmpty(-1).Max(); // a guess to go on with
        var expected = chain.Digest;
        for (var round = chain.Last; round >= 0; round--)
            expected = chain.Follow(Keys.Manifest(job, round), round, expected, await store.ReadBytesAsync(Keys.Manifest(job, round), cancellationToken));
        chain.Origin = expected;
        return chain;
    }

    private void Begin(string key, byte[] bytes)
    {
        HasCurrent = true;
        if (SealedJson.Check(bytes) is { } problem) Current = new Finding(key, problem.Expected, problem.Found, "which round was committed last cannot be told");
        else if (CurrentRound.Parse(bytes, key) is var current) (Last, Digest) = (current.Round, current.ManifestSha256);
    }

    // Returns the digest that the round before must have; null where that is not known.
    private string? Follow(string key, int round, string? expected, byte[]? bytes)
    {
        var found = bytes is null ? null : RoundManifest.Digest(bytes);
        var manifest = bytes is null ? null : TryParse(bytes, key);
        var linked = manifest is not null && manifest.Round == round && (round == 0 || manifest.Previous is not null);
        if (bytes is not null && linked && (expected is null || found == expected))
        {
            Rounds[round] = manifest!;
            if (expected is null) Unchecked.Add(round);
            return manifest!.Previous;
        }

        var namedBy = round == Last ? "current.json" : $"the manifest of round {round + 1}";
        _broken[round] = new Finding(key, expected, found, found == expected || expected is null ? "it is no manifest of its round" : $"it is not the link that {namedBy} names; what it says of its round cannot be relied on");
        return null;
    }

    private static RoundManifest? TryParse(byte[] bytes, string key)
    {
        try
        {
            return RoundManifest.Parse(bytes, key);
        }
        catch (BadInputException)
        {
            return null; // reported by the caller, with its digest
        }
    }
}
