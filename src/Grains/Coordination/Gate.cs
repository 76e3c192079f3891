using FedRLora.Abstractions.Messages;
using FedRLora.Federation.Rounds;

namespace FedRLora.Grains.Coordination;

/// <summary>
/// Whether events reach the round machine of a job, and why they do not: exactly one of these at a time. It is decided anew by every
/// activation and never stored. <see cref="Hold"/> is what people are told: it is read off this and off the state of the round, and
/// most of its kinds hold a round whose gate is open.
/// </summary>
internal abstract record Gate
{
    private Gate()
    {
    }

    /// <summary>Events are taken.</summary>
    public static Gate Open { get; } = new Opened();

    /// <summary>What is not what the run was made with, in one line; null where it is not that.</summary>
    public virtual string? Changed => null;

    /// <summary>Why the job's state cannot be written down; null where it can.</summary>
    public virtual string? StoreTrouble => null;

    /// <summary>Whether the round does not go on.</summary>
    public bool IsClosed => Changed is not null || StoreTrouble is not null;

    /// <summary>Whether an event is taken; any other is dropped, since a site sends its own again.</summary>
    public bool Passes(RoundEvent happened) => Changed is not null ? happened is RoundEvent.Cancelled : StoreTrouble is null;

    private sealed record Opened : Gate;

    /// <summary>Another engine made the run: somebody has to allow this one.</summary>
    public sealed record OtherEngine(string Reason) : Gate
    {
        /// <inheritdoc/>
        public override string Changed => Reason;
    }

    /// <summary>The base is not the one that the run was made with: somebody has to allow it, or to put back what it was.</summary>
    public sealed record OtherBase(string Reason) : Gate
    {
        /// <inheritdoc/>
        public override string Changed => Reason;
    }

    /// <summary>A store could not be used: what it holds counts, and nothing goes on until somebody resumes.</summary>
    public sealed record StoreAway(string Trouble) : Gate
    {
        /// <inheritdoc/>
        public override string StoreTrouble => Trouble;
    }

    /// <summary>
    /// Somebody has resumed it, and the event loop takes that up in its turn. Whoever asks meanwhile is told that it runs.
    /// </summary>
    /// <param name="From">Why it was stopped; <see cref="Open"/> where the round itself was, or nothing.</param>
    public sealed record Resuming(Gate From) : Gate
    {
        /// <inheritdoc/>
        public override string? StoreTrouble => From.StoreTrouble;
    }
}
