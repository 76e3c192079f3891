namespace FedRLora.Abstractions.Plans;

/// <summary>How the folders that a run is stored in are kept; containers of Azure Blob Storage have their own rules.</summary>
public sealed record StoreSpec
{
    /// <summary>What <c>store.mode</c> and <c>--store-mode</c> accept, in the order of <see cref="StoreMode"/>.</summary>
    public static IReadOnlyList<string> Modes { get; } = ["private", "shared-group"];

    /// <summary>What <c>store.durability</c> and <c>--durability</c> accept, in the order of <see cref="Plans.Durability"/>.</summary>
    public static IReadOnlyList<string> Durabilities { get; } = ["full", "fast"];

    /// <summary>The spec that is written so; an empty text says nothing.</summary>
    public static StoreSpec Of(string mode, string durability) => new()
    {
        Mode = mode.Length == 0 ? null : mode == Modes[0] ? StoreMode.Private : StoreMode.SharedGroup,
        Durability = durability.Length == 0 ? null : durability == Durabilities[0] ? Plans.Durability.Full : Plans.Durability.Fast,
    };

    /// <summary>
    /// Who may read and write what is stored; null: on one machine its owner alone, on silos what they were started with.
    /// </summary>
    public StoreMode? Mode { get; init; }

    /// <summary>What a power cut may take; null: on one machine nothing, on silos what they were started with.</summary>
    public Durability? Durability { get; init; }
}

/// <summary>Who may read and write what is stored.</summary>
public enum StoreMode
{
    /// <summary>Its owner alone: folders 0700, files 0600.</summary>
    Private,

    /// <summary>
    /// Also the group that the store's folder belongs to, for silos that run under different users: folders 0770, files 0660.
    /// </summary>
    SharedGroup,
}

/// <summary>What a power cut may take.</summary>
public enum Durability
{
    /// <summary>Nothing that is committed: what a commit names is on the disk before the pointer says so.</summary>
    Full,

    /// <summary>Nothing is waited for; a killed process loses nothing, a power cut may make the run unusable.</summary>
    Fast,
}
