using System.Diagnostics.CodeAnalysis;
using System.Globalization;
using System.Security.Cryptography;
using System.Text;

namespace FedRLora.Abstractions.Messages;

/// <summary>
/// Where a listener is in the events of a run. Committed rounds are the same whoever tells of them, so that their part of a position
/// outlives a coordinator; what happens between two commits is numbered by the activation that saw it.
/// </summary>
/// <param name="Tag">Which run it is of: <see cref="TagOf"/>.</param>
/// <param name="Round">The last committed round that was told of; -1 for none.</param>
/// <param name="Activation">The coordinator's activation that numbered the event.</param>
/// <param name="Number">Its number there, from 1.</param>
[GenerateSerializer, Immutable, Alias("fedrlora.run-position")]
public sealed record RunPosition(
    [property: Id(0)] string Tag, [property: Id(1)] int Round, [property: Id(2)] string Activation, [property: Id(3)] long Number)
{
    private const int TagLength = 8;

    /// <summary>The run's part of a position.</summary>
    public static string TagOf(string run) => Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(run)))[..TagLength];

    /// <summary>
    /// Of a listener that was told the state at this position, and not yet the clients: it is answered as from its round.
    /// </summary>
    public RunPosition BeforeClients() => this with { Activation = Activation + "s", Number = 0 };

    /// <summary>As an event's id: <c>TAG.ROUND.ACTIVATION.NUMBER</c>.</summary>
    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"{Tag}.{Round}.{Activation}.{Number}");

    /// <summary>Reads an event's id; false where it is none.</summary>
    public static bool TryParse(string? text, [NotNullWhen(true)] out RunPosition? position)
    {
        position = null;
        if (text?.Split('.') is not [{ Length: TagLength } tag, var rounds, { Length: > 0 } activation, var numbers]) return false;
        if (!int.TryParse(rounds, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var round) || round < -1) return false;
        if (!long.TryParse(numbers, NumberStyles.None, CultureInfo.InvariantCulture, out var number)) return false;
        position = new(tag, round, activation, number);
        return true;
    }
}

/// <summary>What a client of the open round does.</summary>
public enum ClientStage
{
    /// <summary>It was sent its work and has not answered.</summary>
    AtWork,

    /// <summary>It has reported the phase.</summary>
    Reported,

    /// <summary>Its work failed.</summary>
    Failed,

    /// <summary>What it reported was not found at its site.</summary>
    Missing,

    /// <summary>Its site has no live silo.</summary>
    Lost,
}

/// <summary>A client in the open round.</summary>
[GenerateSerializer, Immutable, Alias("fedrlora.client-now")]
public sealed record ClientNow
{
    /// <summary>The client.</summary>
    [Id(0)] public required string ClientId { get; init; }

    /// <summary>Train or evaluate.</summary>
    [Id(1)] public required RoundPhase Phase { get; init; }

    /// <summary>What it does.</summary>
    [Id(2)] public required ClientStage Stage { get; init; }

    /// <summary>Seconds from the assignment to its report; null where it has not reported, or that was not measured.</summary>
    [Id(3)] public double? Seconds { get; init; }

    /// <summary>Why it failed, or is not waited for, in one line; null where neither is so.</summary>
    [Id(4)] public string? Reason { get; init; }
}

/// <summary>One thing that happened in a run. Exactly one of its parts is there.</summary>
[GenerateSerializer, Immutable, Alias("fedrlora.run-event")]
public sealed record RunEvent
{
    /// <summary>Where a listener is that has heard it.</summary>
    [Id(0)] public required RunPosition At { get; init; }

    /// <summary>A round was committed.</summary>
    [Id(1)] public RoundSummary? Round { get; init; }

    /// <summary>The run stands elsewhere: status, phase, counts, what it waits for. It replaces what was known; it has no rounds.</summary>
    [Id(2)] public JobProgress? State { get; init; }

    /// <summary>
    /// Clients of the open round that do something else now. With another round or attempt in <see cref="State"/>, all clients before are
    /// forgotten.
    /// </summary>
    [Id(3)] public IReadOnlyList<ClientNow>? Clients { get; init; }
}

/// <summary>What happened in a run after a position.</summary>
[GenerateSerializer, Immutable, Alias("fedrlora.run-news")]
public sealed record RunNews
{
    /// <summary>In order; empty where nothing happened within the caller's patience.</summary>
    [Id(0)] public required IReadOnlyList<RunEvent> Events { get; init; }

    /// <summary>
    /// Whether the coordinator does not know what happened between the position and now beside commits: the caller has none, or it is of
    /// another activation, or older than what is remembered. The events are then every committed round after it, and after the last of
    /// them the whole state and every client of the open round. A position within them is answered in this way again.
    /// </summary>
    [Id(1)] public bool IsRestated { get; init; }

    /// <summary>
    /// Whether the position is of another run, or of a round that is not committed here. The events are then the whole state and every
    /// client of the open round: whoever wants the rounds too asks without a position.
    /// </summary>
    [Id(2)] public bool IsForeign { get; init; }

    /// <summary>Whether more is there already, which this message does not hold.</summary>
    [Id(3)] public bool HasMore { get; init; }
}
