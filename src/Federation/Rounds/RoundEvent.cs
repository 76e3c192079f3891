using System.Collections.Immutable;
using FedRLora.Abstractions.Messages;

namespace FedRLora.Federation.Rounds;

/// <summary>Something that happened. An event that is late, repeated or of another attempt changes nothing.</summary>
public abstract record RoundEvent
{
    private RoundEvent()
    {
    }

    /// <summary>The job was submitted, revived after a crash, or resumed.</summary>
    /// <param name="LastRound">The last committed round in <c>current.json</c>; -1 where there is none.</param>
    /// <param name="LastSha256">The digest that <c>current.json</c> names.</param>
    /// <param name="LostSites">Sites known to have no live silo.</param>
    /// <param name="Resume">Whether a failed, cancelled or paused job goes on; without it such a job stays as it is.</param>
    /// <param name="Standings">What the last committed manifest says of refused clients; null for nothing.</param>
    /// <param name="Versions">What it says of the states of tasks; null for nothing.</param>
    public sealed record Started(
        int LastRound, string? LastSha256, IReadOnlyList<string> LostSites, bool Resume = false,
        ImmutableDictionary<string, ClientStanding>? Standings = null, ImmutableDictionary<string, int>? Versions = null) : RoundEvent;

    /// <summary>A client reported training or scoring, or its failure.</summary>
    /// <param name="Report">The report.</param>
    /// <param name="Seconds">Time since its work was first sent; null where that was before a restart.</param>
    public sealed record ClientReported(ClientReport Report, double? Seconds = null) : RoundEvent;

    /// <summary>An armed time budget passed.</summary>
    /// <param name="Round">The round.</param>
    /// <param name="Attempt">The attempt.</param>
    /// <param name="Seconds">The budget that passed, counted from when the cohort's work was sent.</param>
    /// <param name="Confirmation">
    /// Where it was armed for a confirmation, which one, and it counts from its begin; 0 where it was armed for training.
    /// </param>
    public sealed record BudgetPassed(int Round, int Attempt, double Seconds, int Confirmation = 0) : RoundEvent;

    /// <summary>An armed deadline passed; the values are those of its <see cref="RoundEffect.ArmDeadline"/>.</summary>
    public sealed record DeadlinePassed(int Round, int Attempt, RoundPhase Phase) : RoundEvent;

    /// <summary>A site looked for what its clients reported.</summary>
    /// <param name="Site">The site.</param>
    /// <param name="Round">The round.</param>
    /// <param name="Attempt">The attempt.</param>
    /// <param name="Confirmation">The <see cref="RoundState.Confirmation"/> it was asked in.</param>
    /// <param name="Missing">What is not there, in one line, by client; whoever is not named has all of it, and it is durable.</param>
    /// <param name="StoreTrouble">Why a store of the site could not be used, so that nothing is known; null otherwise.</param>
    public sealed record SiteConfirmed(
        string Site, int Round, int Attempt, int Confirmation, IReadOnlyDictionary<string, string> Missing,
        string? StoreTrouble = null) : RoundEvent;

    /// <summary>A site has no live silo left.</summary>
    public sealed record SiteLost(string Site) : RoundEvent;

    /// <summary>A site has a live silo again.</summary>
    public sealed record SiteReturned(string Site) : RoundEvent;

    /// <summary>It is time to ask the silent again.</summary>
    public sealed record ResendDue : RoundEvent;

    /// <summary>The closed cohort became a candidate, whose blobs are written.</summary>
    public sealed record Aggregated(int Round, int Attempt, Candidate Candidate) : RoundEvent;

    /// <summary>Updates of the closed cohort cannot be used.</summary>
    /// <param name="Round">The round.</param>
    /// <param name="Attempt">The attempt.</param>
    /// <param name="Reasons">Why, in one line, by client.</param>
    public sealed record AggregationRefused(int Round, int Attempt, IReadOnlyDictionary<string, string> Reasons) : RoundEvent;

    /// <summary>The rule cannot aggregate a cohort of this size, whoever is in it.</summary>
    /// <param name="Round">The round.</param>
    /// <param name="Attempt">The attempt.</param>
    /// <param name="Reason">Why, in one line.</param>
    public sealed record AggregationImpossible(int Round, int Attempt, string Reason) : RoundEvent;

    /// <summary><c>current.json</c> names the round with this digest, which is ours.</summary>
    public sealed record Committed(int Round, string Sha256) : RoundEvent;

    /// <summary><c>current.json</c> names something that is not ours: another activation runs the job.</summary>
    public sealed record CommitConflict : RoundEvent;

    /// <summary>The coordinator itself cannot go on, for example because the model folder is not usable.</summary>
    public sealed record Broken(string Reason) : RoundEvent;

    /// <summary>Somebody stopped the job.</summary>
    public sealed record Cancelled : RoundEvent;

    /// <summary>The job waits until it is resumed.</summary>
    /// <param name="Reason">Why; null where somebody asked for it.</param>
    public sealed record Paused(string? Reason = null) : RoundEvent;
}
