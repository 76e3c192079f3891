using FedRLora.Abstractions.Plans;

namespace FedRLora.Grains;

/// <summary>How the grains of a silo behave where no plan says so.</summary>
public sealed record GrainSettings
{
    /// <summary>How long a cohort may be silent before the work is sent again.</summary>
    public TimeSpan ResendAfter { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>How long a site works on without a word from the coordinator.</summary>
    public TimeSpan LeaseFor { get; init; } = TimeSpan.FromSeconds(40);

    /// <summary>
    /// How often a silo asks for jobs that should run, whatever happened; a loss that the membership sees is acted on at once.
    /// </summary>
    public TimeSpan ReviveEvery { get; init; } = TimeSpan.FromSeconds(15);

    /// <summary>Groups that the silo trains side by side; null for as many as there are processors.</summary>
    public int? Lanes { get; init; }

    /// <summary>How many series of metrics with a client as label the silo may have; 0 for none.</summary>
    public int ClientSeries { get; init; }

    /// <summary>
    /// Clients that a message to whoever follows a job holds at most, those of each round counted: some 20 MB, a fifth of what it may have.
    /// </summary>
    public int MostClientsInMessage { get; init; } = 50_000;

    /// <summary>How the job's store is kept; null where it is no folder.</summary>
    public StoreSpec? Store { get; init; } = new() { Mode = StoreMode.Private, Durability = Durability.Full };

    /// <summary>Whether runs begin the local-only reference that their plan asks for; false where the host sees to that itself.</summary>
    public bool BeginsReferences { get; init; } = true;

    /// <summary>Whether the host has a reminder service whose table outlives the silos.</summary>
    public bool Reminders { get; init; }
}
