using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;

namespace FedRLora.ControlPlane.Views;

/// <summary>A client's part of the outcome, of the rounds so far.</summary>
/// <param name="Start">Its scored row of round 0.</param>
/// <param name="Last">Its last scored row of a round with training.</param>
/// <param name="Noted">What has to be known of its rows: <see cref="NoteLines.Noted"/>.</param>
/// <param name="SentBytes">Bytes of its updates.</param>
/// <param name="Scores">Its scores of rounds with training, the last one first.</param>
internal sealed record ClientSoFar(ClientRow? Start, ClientRow? Last, ClientRow? Noted, long SentBytes, ScoreOfRound? Scores)
{
    public static readonly ClientSoFar Nothing = new(null, null, null, 0, null);

    /// <summary>Its last row with a score; null where it has none.</summary>
    public ClientRow? Scored => Last ?? Start;

    /// <summary>Its score of a round with training.</summary>
    public double? ScoreOf(int? round)
    {
        for (var one = Scores; one is not null && one.Round >= round; one = one.Before)
        {
            if (one.Round == round) return one.Score;
        }

        return null;
    }

    public ClientSoFar And(ClientRow row) => new(
        row is { Round: 0, Score: not null } ? Start ?? row : Start,
        row is { Round: > 0, Score: not null } ? row : Last,
        NoteLines.Noted(Noted, row),
        SentBytes + (row.UpdateBytes ?? 0),
        row is { Round: > 0, Score: { } score } ? new(row.Round, score, Scores) : Scores);
}

/// <summary>A score, and those before it.</summary>
internal sealed record ScoreOfRound(int Round, double Score, ScoreOfRound? Before);

/// <summary>
/// What the outcome of a run needs of its rounds, which are taken one by one and not kept. Not for several threads at once.
/// </summary>
internal sealed class OutcomeSoFar
{
    private readonly Dictionary<string, ClientSoFar> _clients;
    private readonly HashSet<string> _aside;

    public OutcomeSoFar() => (_clients, _aside) = (new(StringComparer.Ordinal), new(StringComparer.Ordinal));

    private OutcomeSoFar(OutcomeSoFar other)
    {
        (_clients, _aside) = (new(other._clients, StringComparer.Ordinal), new(other._aside, StringComparer.Ordinal));
        (Round, Digest, IsFork) = (other.Round, other.Digest, other.IsFork);
    }

    /// <summary>The last round; null before round 0.</summary>
    public int? Round { get; private set; }

    /// <summary>The digest of its manifest.</summary>
    public string? Digest { get; private set; }

    /// <summary>Whether the first round follows one of another run.</summary>
    public bool IsFork { get; private set; }

    /// <summary>Clients whose task leaves nothing to choose.</summary>
    public IReadOnlySet<string> Aside => _aside;

    /// <summary>Every client of the rounds.</summary>
    public IReadOnlyCollection<ClientSoFar> Clients => _clients.Values;

    /// <summary>The outcome of rounds.</summary>
    public static OutcomeSoFar Of(IEnumerable<RoundSummary> rounds, FederationPlan? plan)
    {
        var outcome = new OutcomeSoFar();
        foreach (var round in rounds) outcome.Take(round, RoundView.Of(round, plan));
        return outcome;
    }

    /// <summary>A client's part.</summary>
    public ClientSoFar Client(string client) => _clients.GetValueOrDefault(client) ?? ClientSoFar.Nothing;

    /// <summary>Takes the next round.</summary>
    public void Take(RoundSummary round, RoundView view)
    {
        if (Round is null) IsFork = round.Manifest.Previous is not null;
        (Round, Digest) = (round.Manifest.Round, round.ManifestSha256);
        foreach (var row in view.Clients)
        {
            _clients[row.Client] = Client(row.Client).And(row);
            if (row.StaysAside) _aside.Add(row.Client);
        }
    }

    /// <summary>The same, which later rounds do not change.</summary>
    public OutcomeSoFar Copy() => new(this);
}
