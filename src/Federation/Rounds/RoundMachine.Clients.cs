using FedRLora.Abstractions.Messages;

namespace FedRLora.Federation.Rounds;

// What each client of the open round does: read off the state, nothing is remembered for it.
public sealed partial class RoundMachine
{
    /// <summary>
    /// Every client of the open round, in ordinal order: those of the cohort, and while the candidate is scored those who score it.
    /// </summary>
    /// <param name="state">The state.</param>
    /// <param name="absent">Sites without a live silo.</param>
    /// <param name="seconds">From a client's assignment to its report; null where that was not measured.</param>
    public IReadOnlyList<ClientNow> ClientsOf(
        RoundState state, IReadOnlySet<string> absent, Func<RoundPhase, string, double?> seconds)
    {
        var clients = new SortedDictionary<string, ClientNow>(StringComparer.Ordinal);
        foreach (var client in state.Cohort) clients[client] = Training(client);
        if (state.Candidate is not null && IsScored(state.Round))
            foreach (var client in _scorers) clients[client] = Scoring(client);
        return [.. clients.Values];

        ClientNow Training(string client)
        {
            if (state.Reports.TryGetValue(client, out var report)) return Done(client, RoundPhase.Train, report.Failure);
            if (state.Lost.TryGetValue(client, out var lost)) return Now(client, RoundPhase.Train, ClientStage.Missing, lost.What);
            return AtWork(client, RoundPhase.Train);
        }

        ClientNow Scoring(string client) => state.Scores.TryGetValue(client, out var score)
            ? Done(client, RoundPhase.Evaluate, score.Failure)
            : AtWork(client, RoundPhase.Evaluate);

        ClientNow Done(string client, RoundPhase phase, string? failure) =>
            Now(client, phase, failure is null ? ClientStage.Reported : ClientStage.Failed, failure) with
            {
                Seconds = seconds(phase, client),
            };

        ClientNow AtWork(string client, RoundPhase phase) =>
            absent.Contains(_clients[client].Site) ? Now(client, phase, ClientStage.Lost, null)
            : Contains(state.Dropped, client) ? Now(client, phase, ClientStage.AtWork, "the round goes on without it")
            : Now(client, phase, ClientStage.AtWork, null);

        static ClientNow Now(string client, RoundPhase phase, ClientStage stage, string? reason) =>
            new() { ClientId = client, Phase = phase, Stage = stage, Reason = reason };
    }
}
