using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Federation.Rounds;
using static FedRLora.Federation.Tests.TestPlans;

namespace FedRLora.Federation.Tests;

/// <summary>What each client of the open round does, as listeners hear it.</summary>
public class ClientsNowTests
{
    private static readonly FederationPlan Plan = Of("a", "b", "c", "d").With(static strategy => strategy with { Quorum = 0.5 });

    [Fact]
    public void Clients_are_at_work_until_they_report_or_fail()
    {
        var run = InRound1(Plan).Train(1, "b").Fail(1, "c", "no such file");

        Assert.Equal(["a: Train AtWork", "b: Train Reported", "c: Train Failed no such file", "d: Train AtWork"], Clients(run));
    }

    [Fact]
    public void A_client_whose_files_are_gone_is_missing_until_it_reports_again()
    {
        var run = InRound1(Plan).Train(1, "a", "b", "c", "d");
        run.On(run.Confirmed("local", "b"));

        Assert.Equal("b: Train Missing b/head.safetensors is missing.", Clients(run)[1]);
    }

    [Fact]
    public void The_silent_of_a_site_without_a_silo_are_lost_and_its_reports_stay()
    {
        var run = InRound1(Plan).Train(1, "b");

        Assert.Equal(
            ["a: Train Lost", "b: Train Reported", "c: Train Lost", "d: Train Lost"], Clients(run, "local"));
    }

    [Fact]
    public void While_the_candidate_is_scored_scorers_are_at_work_and_others_have_reported()
    {
        var run = InRound1(Of([Client("a"), Client("b", test: false)])).Train(1, "a", "b").Confirm()
            .On(new RoundEvent.Aggregated(1, 1, Candidate(1)));
        Assert.Equal(["a: Evaluate AtWork", "b: Train Reported"], Clients(run));

        run.Score(1, "a");
        Assert.Equal(["a: Evaluate Reported", "b: Train Reported"], Clients(run));
    }

    [Fact]
    public void Seconds_are_those_of_the_phase_that_was_reported()
    {
        var run = InRound1(Plan).Train(1, "a");

        var clients = new RoundMachine(Plan).ClientsOf(
            run.State, new HashSet<string>(), static (phase, client) => phase == RoundPhase.Train ? client.Length : null);
        Assert.Equal([1d, null, null, null], clients.Select(static client => client.Seconds));
    }

    private static Run InRound1(FederationPlan plan) => new Run(plan).On(new RoundEvent.Started(0, "zero", []));

    private static string[] Clients(Run run, params string[] absent) =>
    [
        .. run.Clients(absent.ToHashSet(StringComparer.Ordinal))
            .Select(static client => $"{client.ClientId}: {client.Phase} {client.Stage} {client.Reason}".TrimEnd()),
    ];
}
