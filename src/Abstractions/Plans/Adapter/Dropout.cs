namespace FedRLora.Abstractions.Plans;

/// <summary>Where dropout sits in a layer.</summary>
public enum DropoutSite
{
    /// <summary>No dropout.</summary>
    None,

    /// <summary>On the layer input, in front of A (LoRA).</summary>
    Input,

    /// <summary>On A x, between A and B (R-LoRA's multi-head dropout).</summary>
    Hidden,
}

/// <summary>Whether heads share a dropout mask.</summary>
public enum MaskSharing
{
    /// <summary>One mask for all heads.</summary>
    AllHeads,

    /// <summary>An independent mask for each head.</summary>
    PerHead,
}

/// <summary>Inverted dropout of an adapter.</summary>
/// <param name="Site">Where it sits.</param>
/// <param name="Masks">Whether heads share the mask.</param>
/// <param name="P">Probability of a zero, in [0, 1).</param>
public sealed record Dropout(DropoutSite Site, MaskSharing Masks, double P)
{
    /// <summary>No dropout.</summary>
    public static Dropout None { get; } = new(DropoutSite.None, MaskSharing.AllHeads, 0);

    /// <summary>Dropout in front of A.</summary>
    public static Dropout Input(MaskSharing masks, double p) => new(DropoutSite.Input, masks, p);

    /// <summary>Dropout between A and B.</summary>
    public static Dropout Hidden(MaskSharing masks, double p) => new(DropoutSite.Hidden, masks, p);
}
