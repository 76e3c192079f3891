using System.Collections.Immutable;

namespace FedRLora.Abstractions.Messages;

/// <summary>A blob that is not what it should be.</summary>
/// <param name="Key">The blob.</param>
/// <param name="Expected">The digest that names it; null where none does.</param>
/// <param name="Found">The digest of what is there; null where nothing is.</param>
/// <param name="Meaning">What can no longer be relied on, and what helps.</param>
[GenerateSerializer, Immutable, Alias("fedrlora.finding")]
public sealed record Finding(
    [property: Id(0)] string Key, [property: Id(1)] string? Expected, [property: Id(2)] string? Found, [property: Id(3)] string Meaning)
{
    /// <inheritdoc/>
    public override string ToString()
    {
        var what = Found is null ? "is missing"
            : Found == Expected ? $"names digest {Expected}, which its content has, but is not written as it was sealed"
            : $"has digest {Found}";
        return $"{Key} {what}{(Expected is null || Expected == Found ? "" : $", expected {Expected}")}; {Meaning}";
    }
}

/// <summary>What a verification of a run found.</summary>
[GenerateSerializer, Immutable, Alias("fedrlora.run-report")]
public sealed record RunReport
{
    /// <summary>The last committed round; -1 where none is.</summary>
    [Id(0)] public required int LastRound { get; init; }

    /// <summary>The digest of the run: of its last manifest; null where that cannot be told.</summary>
    [Id(1)] public required string? Digest { get; init; }

    /// <summary>Blobs that are what they should be.</summary>
    [Id(2)] public required int Intact { get; init; }

    /// <summary>
    /// What is broken, in the order plan, fingerprint, inputs, commit pointer, manifests from the oldest, start of a fork, states, heads,
    /// rows, exports, memory, timings, list of runs.
    /// </summary>
    [Id(3)] public required IReadOnlyList<Finding> Broken { get; init; }

    /// <summary>Keys that could not be checked because what names them is broken.</summary>
    [Id(4)] public required IReadOnlyList<string> Unchecked { get; init; }

    /// <summary>Keys that no manifest names: of the open round, or left by a stop. No failure.</summary>
    [Id(5)] public required IReadOnlyList<string> Leftovers { get; init; }

    /// <summary>Rounds from which on the run was allowed to go on with another base or other rows, in one line each. No failure.</summary>
    [Id(6)] public required IReadOnlyList<string> Changes { get; init; }

    /// <summary>Sites whose heads were not looked at: they are in another store, or the site could not be asked.</summary>
    [Id(7)] public required IReadOnlyList<string> OtherSites { get; init; }

    /// <summary>Of sites that could not be asked: why, in one line.</summary>
    [Id(8)] public IReadOnlyDictionary<string, string> NotAsked { get; init; } = ImmutableDictionary<string, string>.Empty;
}
