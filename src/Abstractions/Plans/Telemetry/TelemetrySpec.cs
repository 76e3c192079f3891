namespace FedRLora.Abstractions.Plans;

/// <summary>What is recorded of training besides what each round reports.</summary>
public sealed record TelemetrySpec
{
    /// <summary>Steps of a client from one point to the next, counted over all rounds; 0 records none.</summary>
    public int StepEvery { get; init; }

    /// <summary>Where points are kept.</summary>
    public StepKeeping Steps { get; init; } = StepKeeping.Site;

    /// <summary>Whether points leave the site.</summary>
    public bool SendsSteps => StepEvery > 0 && Steps == StepKeeping.Hub;
}

/// <summary>Where the points of steps are kept.</summary>
public enum StepKeeping
{
    /// <summary>In the store of the client's site alone.</summary>
    Site,

    /// <summary>Also in the job's store, where the site's administrator lets them leave.</summary>
    Hub,
}
