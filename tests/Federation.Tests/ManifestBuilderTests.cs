using System.Collections.Immutable;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Federation.Rounds;
using static FedRLora.Federation.Tests.TestPlans;

namespace FedRLora.Federation.Tests;

public class ManifestBuilderTests
{
    private static readonly FederationPlan Plan = Of([Client("d"), Client("b", "west"), Client("a"), Client("c")])
        .With(strategy => strategy with { Quorum = 0.25, Deadline = TimeSpan.FromMinutes(1), Rounds = 3 });

    [Fact]
    public void Round_0_names_every_client_in_ordinal_order_without_a_head()
    {
        var manifest = Round0();
        Assert.Equal(["a", "b", "c", "d"], manifest.Clients.Select(client => client.Id));
        Assert.All(
            manifest.Clients,
            client => Assert.Equal((ClientOutcome.NotSelected, 0, null), (client.Outcome, client.HeadRound, client.Head)));
        Assert.All(manifest.Clients, client => Assert.NotNull(client.Score));
        Assert.Null(manifest.Previous);
    }

    [Fact]
    public void A_trained_client_owns_its_new_head()
    {
        var client = Round1("a").Clients[0];
        Assert.Equal((ClientOutcome.Trained, 1, 1.0), (client.Outcome, client.HeadRound, client.Weight));
        Assert.Equal(Blob("head 1 a").Sha256, client.Head!.Sha256);
        Assert.Equal((10, 5, 1.5, 0.25), (client.Samples, client.Steps, client.MeanLoss, client.ProductNorm));
    }

    [Fact]
    public void A_late_a_failed_and_a_refused_client_keep_their_heads()
    {
        var first = Round1("a", "b", "c", "d");
        var machine = new RoundMachine(Plan);
        var state = Play(machine, Started(first),
            new RoundEvent.ClientReported(Trained(2, "a")), new RoundEvent.ClientReported(Trained(2, "b", failure: "out of memory")),
            new RoundEvent.ClientReported(Trained(2, "c")),
            new RoundEvent.DeadlinePassed(2, 1, RoundPhase.Train),
            new RoundEvent.AggregationRefused(2, 1, new Dictionary<string, string> { ["c"] = "NaN" }),
            new RoundEvent.Aggregated(2, 1, Candidate(2)),
            new RoundEvent.DeadlinePassed(2, 1, RoundPhase.Evaluate));

        var second = ManifestBuilder.Build(Plan, PlanSha256, first, state);

        Assert.Equal(
            ["Trained ", "Failed out of memory", "Refused NaN", "Late "],
            second.Clients.Select(client => $"{client.Outcome} {client.Reason}"));
        Assert.Equal([2, 1, 1, 1], second.Clients.Select(client => client.HeadRound));
        Assert.Equal(
            first.Clients.Skip(1).Select(client => (client.Head, client.Optimizer)),
            second.Clients.Skip(1).Select(client => (client.Head, client.Optimizer)));
        Assert.Equal([1.0, 0, 0, 0], second.Clients.Select(client => client.Weight));
        Assert.Equal(Digest(first), second.Previous);
    }

    [Fact]
    public void A_manifest_does_not_depend_on_the_attempt_or_on_the_order_of_reports()
    {
        var reports = new[] { "a", "b", "c", "d" };
        var retried = Play(
            new RoundMachine(Plan),
            [Started(Round0()), new RoundEvent.DeadlinePassed(1, 1, RoundPhase.Train), .. Work(1, 2, [.. reports.Reverse()])]);
        Assert.Equal(2, retried.Attempt);
        var manifest = ManifestBuilder.Build(Plan, PlanSha256, Round0(), retried);
        Assert.Equal(
            Round1("a", "b", "c", "d").Clients.Select(client => client with { Update = null }),
            manifest.Clients.Select(client => client with { Update = null }));   // these tests' blobs are named after the attempt
    }

    [Fact]
    public void A_manifest_needs_the_one_before() =>
        Assert.Throws<InvalidOperationException>(() =>
            ManifestBuilder.Build(
                Plan, PlanSha256, null, Play(new RoundMachine(Plan), [Started(Round0()), .. Work(1, 1, "a", "b", "c", "d")])));

    [Fact]
    public void A_training_assignment_names_the_committed_state_and_head()
    {
        var first = Round1("a", "b", "d");
        var state = Play(new RoundMachine(Plan), Started(first));
        var sites = AssignmentBuilder.Build(
            Plan, "job", Blob("plan"), first,
            round => States(new(Keys.Shared("job", round, "a"), first.Shared.Sha256, first.Shared.SizeBytes)),
            state, new RoundEffect.SendAssignments(RoundPhase.Train, ["a", "b", "c"]));

        Assert.Equal(["local", "west"], sites.Select(site => site.Site));
        Assert.Equal(Keys.Shared("job", 1, "a"), sites[0].Assignment.Shared.Key);
        Assert.Equal(first.Shared.Sha256, sites[0].Assignment.Shared.Sha256);
        Assert.Equal(["a", "c"], sites[0].Assignment.Members.Select(member => member.ClientId));
        Assert.Equal(new BlobRef(Keys.Head("job", "local", "a", 1), Blob("head 1 a").Sha256, 8), sites[0].Assignment.Members[0].Head);
        Assert.Null(sites[0].Assignment.Members[1].Head);
        Assert.Equal((2, 1, RoundPhase.Train), (sites[1].Assignment.Round, sites[1].Assignment.Attempt, sites[1].Assignment.Phase));
    }

    [Fact]
    public void A_scoring_assignment_names_the_candidate_and_the_new_head_of_those_who_trained()
    {
        var first = Round1("a", "b", "d");
        var state = Play(new RoundMachine(Plan), Started(first), new RoundEvent.ClientReported(Trained(2, "b")),
            new RoundEvent.DeadlinePassed(2, 1, RoundPhase.Train), new RoundEvent.Aggregated(2, 1, Candidate(2)));
        var sites = AssignmentBuilder.Build(
            Plan, "job", Blob("plan"), first,
            round => States(new(Keys.Shared("job", round, "a"), first.Shared.Sha256, first.Shared.SizeBytes)),
            state, new RoundEffect.SendAssignments(RoundPhase.Evaluate, ["a", "b"]));

        Assert.Equal(Candidate(2).Shared, sites[0].Assignment.Shared);
        Assert.Equal(Keys.Head("job", "local", "a", 1), sites[0].Assignment.Members[0].Head!.Key);
        Assert.Equal(new BlobRef(Keys.Head("job", "west", "b", 2), Blob("head 2 b").Sha256, 8), sites[1].Assignment.Members[0].Head);
    }

    private static SharedStates States(BlobRef job) => new(job, ImmutableSortedDictionary<string, BlobRef>.Empty);

    private static RoundManifest Round0() => ManifestBuilder.Build(Plan, PlanSha256, null, Play(new RoundMachine(Plan),
        [new RoundEvent.Started(-1, null, []), new RoundEvent.Aggregated(0, 1, Candidate(0)), .. Scores(0, 1)]));

    private static RoundManifest Round1(params string[] trained) =>
        ManifestBuilder.Build(Plan, PlanSha256, Round0(), Play(new RoundMachine(Plan), [Started(Round0()), .. Work(1, 1, trained)]));

    private static IEnumerable<RoundEvent> Work(int round, int attempt, params string[] trained) =>
    [
        .. trained.Select(client => new RoundEvent.ClientReported(Trained(round, client, attempt))),
        new RoundEvent.DeadlinePassed(round, attempt, RoundPhase.Train),
        new RoundEvent.Aggregated(round, attempt, Candidate(round)),
        .. Scores(round, attempt),
    ];

    private static IEnumerable<RoundEvent> Scores(int round, int attempt) =>
        Plan.Clients.Select(client => new RoundEvent.ClientReported(Scored(round, client.Id, attempt)));

    private static RoundEvent.Started Started(RoundManifest committed) => new(committed.Round, Digest(committed), []);

    private static string Digest(RoundManifest manifest) => RoundManifest.Digest(manifest.ToBytes());

    // Every site that is asked has all that its clients reported.
    private static RoundState Play(RoundMachine machine, params RoundEvent[] events) =>
        events.Aggregate(RoundState.Initial, (before, happened) =>
        {
            var (state, effects) = machine.Next(before, happened);
            var asked = effects.OfType<RoundEffect.ConfirmSites>().SelectMany(static effect => effect.Sites);
            return asked.Aggregate(state, (known, site) =>
                machine.Next(known, new RoundEvent.SiteConfirmed(
                    site, known.Round, known.Attempt, known.Confirmation, new Dictionary<string, string>())).State);
        });
}
