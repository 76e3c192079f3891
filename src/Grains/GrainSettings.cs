namespace FedRLora.Grains;

/// <summary>How the grains of a silo behave where no plan says so.</summary>
public sealed record GrainSettings
{
    /// <summary>How long a cohort may be silent before the work is sent again.</summary>
    public TimeSpan ResendAfter { get; init; } = TimeSpan.FromSeconds(10);
}
