using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;

namespace FedRLora.Grains.Inputs;

/// <summary>How an input is not what a run was made with.</summary>
/// <param name="Line">In one line.</param>
/// <param name="IsUnreadable">Whether it is missing or cannot be read: to allow a change is of no use then.</param>
public readonly record struct InputChange(string Line, bool IsUnreadable)
{
    /// <summary>Seen on a silo.</summary>
    public InputChange On(string silo) => this with { Line = $"{Line}, on silo {silo}" };
}

/// <summary>What of a run's inputs is not what the run was made with.</summary>
/// <param name="Base">How the base differs, in one line; null where it does not.</param>
/// <param name="Elsewhere">How bases of other silos differ.</param>
/// <param name="Rows">How rows differ, in one line, by client.</param>
/// <param name="IsUnreadable">Whether something of it is missing or cannot be read.</param>
public sealed record InputChanges(
    string? Base, IReadOnlyList<string> Elsewhere, IReadOnlyDictionary<string, string> Rows, bool IsUnreadable)
{
    private const int Shown = 3;

    /// <summary>Every change, in one line each.</summary>
    public IReadOnlyList<string> Lines =>
        [.. Base is null ? Elsewhere : [Base, .. Elsewhere], .. Rows.OrderBy(static row => row.Key, StringComparer.Ordinal)
        .Select(static row => row.Value)];

    /// <summary>
    /// Whether what a run is made with changes if this is allowed. Another silo's base is no such change: its clients fail.
    /// </summary>
    public bool ChangesRun => Base is not null || Rows.Count > 0;

    /// <summary>Asks every site that can be reached.</summary>
    /// <param name="local">How the base differs here.</param>
    /// <param name="sites">The sites with their clients.</param>
    /// <param name="ask">Asks one; null where it cannot be reached: it is held against the record when it joins.</param>
    public static async Task<InputChanges> FindAsync(
        InputChange? local, IEnumerable<IGrouping<string, string>> sites, Func<string, IReadOnlyList<string>, Task<InputsFound?>> ask)
    {
        var (elsewhere, rows) = (new List<string>(), new Dictionary<string, string>(StringComparer.Ordinal));
        var isUnreadable = local is { IsUnreadable: true };
        foreach (var site in sites.OrderBy(static site => site.Key, StringComparer.Ordinal))
        {
            if (await ask(site.Key, [.. site]) is not { } found) continue;
            if (found.Base is { } other && local is null) elsewhere.Add(other);
            foreach (var (client, line) in found.Rows) rows[client] = line;
            isUnreadable |= found.IsUnreadable;
        }

        return new InputChanges(local?.Line, elsewhere, rows, isUnreadable);
    }

    /// <summary>Refuses what changed, by name.</summary>
    /// <exception cref="BadInputException">Something changed, and that was not allowed.</exception>
    public void Require(bool allowed)
    {
        if (allowed || Lines.Count == 0) return;
        var more = Lines.Count > Shown ? $"; and {Lines.Count - Shown} more" : "";
        var shown = string.Join("; ", Lines.Take(Shown));
        var allow = IsUnreadable ? "" : ", or go on with --allow-data-change";
        throw new BadInputException($"{shown}{more}. Put back what it was{allow}.");
    }
}
