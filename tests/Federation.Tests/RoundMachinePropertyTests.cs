using CsCheck;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Federation.Rounds;
using static FedRLora.Federation.Tests.TestPlans;

namespace FedRLora.Federation.Tests;

public class RoundMachinePropertyTests
{
    /// <summary>Random orders of events that a test goes through; <c>make soak</c> asks for more.</summary>
    private static readonly int Orders = int.Parse(
        Environment.GetEnvironmentVariable("FEDRLORA_ORDERS") ?? "8000", System.Globalization.CultureInfo.InvariantCulture);

    private static readonly Gen<FederationPlan> Plans =
        from clients in Gen.Int[1, 6]
        from sites in Gen.Int[1, 3]
        from untested in Gen.Int[0, 2]
        from rounds in Gen.Int[0, 4]
        from quorum in Pick(0.3, 0.5, 0.75, 1.0)
        from fraction in Pick(0.5, 1.0)
        from deadline in Pick<TimeSpan?>(null, TimeSpan.FromMinutes(1))
        from attempts in Gen.Int[1, 4]
        from loss in Pick(SiteLoss.Wait, SiteLoss.Continue)
        from every in Gen.Int[1, 3]
        from overselect in Pick(1.0, 1.5, 2.0)
        from budget in Pick<TimeBudgetSpec?>(null, new TimeBudgetSpec { Factor = 1, AtLeast = TimeSpan.FromSeconds(2) })
        from quarantine in Pick<QuarantineSpec?>(null, new QuarantineSpec { After = 1, Rounds = 1 }, new QuarantineSpec { After = 2 })
        from buffered in Gen.Bool
        from buffer in Gen.Int[1, 6]
        from concurrency in Pick<int?>(null, 1, 3)
        from stale in Pick<int?>(null, 0, 2)
        from tasks in Gen.Int[1, 3]
        from heads in Pick(Scope.Job, Scope.Task)
        select Of([.. Enumerable.Range(0, clients).Select(i => Client($"c{i}", $"s{i % sites}", $"t{i * i % tasks}", test: i >= untested))])
            with
        {
            Adapter = AdapterCatalog.Methods["lora"].Spec.With("B", head => head with { Scope = heads }),
            Evaluation = new EvaluationSpec { EveryRounds = every },
            Strategy = new StrategySpec
            {
                Rounds = rounds,
                Quorum = buffered && deadline is not null ? Math.Min(quorum, 0.75) : quorum,
                Selection = buffered
                    ? new()
                    : new SelectionSpec { Rule = SelectionRule.Uniform, Fraction = fraction, Overselect = overselect },
                Trigger = buffered
                    ? new() { Rule = TriggerRule.Buffered, BufferSize = buffer, Concurrency = concurrency, MaxStaleness = stale }
                    : new(),
                TimeBudget = buffered ? null : budget,
                Quarantine = quarantine,
                Deadline = deadline,
                MaxAttempts = attempts,
                SiteLoss = loss,
            },
        };

    private static readonly Gen<Faults> AnyFaults =
        from crash in Gen.Double[0, 0.2]
        from drop in Gen.Double[0, 0.4]
        from duplicate in Gen.Double[0, 0.4]
        from lostSite in Gen.Double[0, 0.1]
        from cancel in Gen.Double[0, 0.03]
        from deadline in Gen.Double[0, 0.1]
        from budget in Gen.Double[0, 0.1]
        from pause in Gen.Double[0, 0.02]
        from vanish in Gen.Double[0, 0.1]
        select new Faults
        {
            Vanish = vanish, EarlyBudget = budget, Pause = pause, Crash = crash, Drop = drop, Duplicate = duplicate, LostSite = lostSite,
            Cancel = cancel, EarlyDeadline = deadline,
        };

    /// <summary>
    /// The world checks at every step that no round is committed twice, no report counted twice, and nothing committed is taken back.
    /// </summary>
    [Fact]
    public void After_any_faults_a_calm_job_finishes_with_every_round_committed_once() =>
        Gen.Select(Plans, AnyFaults, Gen.ULong).Sample((plan, faults, seed) =>
        {
            var chaos = true;
            var world = new World(plan, seed, (round, attempt, client) => chaos ? Misbehaviour(seed, round, attempt, client) : null)
            {
                Faults = faults,
            };
            world.Start();
            for (var i = 0; i < 150; i++)
                world.Step();

            chaos = false;
            for (var resumes = 0; resumes < 3 && world.State.Phase != Phase.Finished; resumes++)
            {
                world.Calm();   // a failure that was on its way may still stop the job: it is resumed
                world.RunUntilOver();
            }

            Assert.Equal(Phase.Finished, world.State.Phase);
            Assert.Equal(Enumerable.Range(0, plan.Strategy.Rounds + 1), world.Committed.Select(round => round.Manifest.Round));
        }, iter: Orders);

    [Fact]
    public void Where_no_deadline_fires_crashes_and_lost_messages_change_no_committed_bit() =>
        Gen.Select(Plans, AnyFaults, Gen.ULong).Sample((plan, faults, seed) =>
        {
            var waiting = plan.With(strategy => strategy with
            {
                Deadline = null, SiteLoss = SiteLoss.Wait, TimeBudget = null, Trigger = new(),
                Selection = strategy.Selection with { Overselect = 1 },
            });
            var calm = Outcome(waiting, new Faults(), 1);
            var stormy = Outcome(waiting, faults with { LostSite = 0, Cancel = 0, Pause = 0 }, seed);
            Assert.Equal(calm, stormy);

            string Outcome(FederationPlan plan, Faults faults, ulong order)
            {
                var world = new World(plan, order, (round, attempt, client) => Misbehaviour(seed, round, attempt, client))
                {
                    Faults = faults,
                };
                world.Start();
                world.RunUntilOver();
                return $"{world.State.Phase} after round {world.State.Committed} with {world.State.CommittedSha256}";
            }
        }, iter: Orders / 2);

    /// <summary>
    /// One in eight clients fails and one in sixteen sends NaN: a function of the seed, so that a repeated answer is the same.
    /// </summary>
    private static string? Misbehaviour(ulong seed, int round, int attempt, string client) =>
        (Seed.For(seed, round, client, $"test/{attempt}") % 16) switch
    {
        0 or 1 => "out of memory",
        2 => "NaN",
        _ => null,
    };

    private static Gen<T> Pick<T>(params T[] values) => Gen.Int[0, values.Length - 1].Select(i => values[i]);
}
