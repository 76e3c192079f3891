namespace FedRLora.Abstractions.Plans;

/// <summary>What a client does wrong. Attacks change the update that is sent, never the client's head.</summary>
public enum FaultKind
{
    /// <summary>It is not there: nobody selects it, and where it is asked all the same it reports that it is absent.</summary>
    Absent,

    /// <summary>It never reports; only a deadline ends the wait.</summary>
    Silent,

    /// <summary>It reports late.</summary>
    Delay,

    /// <summary>It reports a failure.</summary>
    Fail,

    /// <summary>Every element of its update is NaN.</summary>
    Nan,

    /// <summary>Its update times <see cref="FaultSpec.Scale"/>, a million by default.</summary>
    Huge,

    /// <summary>An update of zeros: a free rider.</summary>
    Zero,

    /// <summary>Its update times minus <see cref="FaultSpec.Scale"/>, one by default.</summary>
    SignFlip,

    /// <summary>A tensor of its update lacks its last row; one without rows to spare has another name.</summary>
    WrongShape,
}

/// <summary>
/// Something that goes wrong on purpose: who, in which rounds, how often. A plan with faults is an experiment on how a federation
/// stands them, and as repeatable as any other.
/// </summary>
public sealed record FaultSpec
{
    /// <summary>What goes wrong.</summary>
    public required FaultKind Kind { get; init; }

    /// <summary>Ids of the clients it happens to; empty where <see cref="Share"/> is given.</summary>
    public IReadOnlyList<string> Clients { get; init; } = [];

    /// <summary>
    /// Share of the plan's clients, in (0, 1], rounded to the nearest number and at least one; they are drawn once for the whole run.
    /// </summary>
    public double? Share { get; init; }

    /// <summary>Chance that it happens to such a client in such a round, in (0, 1].</summary>
    public double Probability { get; init; } = 1;

    /// <summary>When it may happen.</summary>
    public FaultRounds Rounds { get; init; } = new();

    /// <summary>How late a report is, under <see cref="FaultKind.Delay"/>.</summary>
    public TimeSpan? Delay { get; init; }

    /// <summary>The factor of <see cref="FaultKind.Huge"/> and <see cref="FaultKind.SignFlip"/>; null takes the kind's default.</summary>
    public double? Scale { get; init; }
}

/// <summary>Rounds of a fault. With every 10 and lasting 4 from round 1: rounds 1 to 4, 11 to 14, and so on.</summary>
public sealed record FaultRounds
{
    /// <summary>The first round.</summary>
    public int From { get; init; } = 1;

    /// <summary>The last round, itself included; null for the end of the run.</summary>
    public int? To { get; init; }

    /// <summary>Length of a period in rounds, counted from <see cref="From"/>; null for every round.</summary>
    public int? Every { get; init; }

    /// <summary>Rounds at the start of each period in which it happens; one where it is not given.</summary>
    public int? Lasting { get; init; }

    /// <summary>Whether it may happen in <paramref name="round"/>.</summary>
    public bool Hold(int round) =>
        round >= From && round <= (To ?? int.MaxValue) && (Every is not { } every || (round - From) % every < (Lasting ?? 1));
}
