using FedRLora.Silo.Clustering;

namespace FedRLora.EndToEnd.Tests.Clustering;

/// <summary>Who may work on a store: a table of what a silo can find.</summary>
public class LeaseRulesTests
{
    private static readonly DateTimeOffset Now = new(2026, 7, 1, 12, 0, 0, TimeSpan.Zero);
    private static readonly ClusterLease Current = new()
    {
        Term = 3, Cluster = "theirs", ClusterId = "fedrlora", Place = "redis://elsewhere:6379", Expires = Now + ClusterLease.Duration,
        Silos = [new LeasedSilo(Environment.MachineName, "127.0.0.1:11112@7"), new LeasedSilo("other", "127.0.0.1:11113@8")],
    };

    private static readonly ClusterLease Expired = Current with { Expires = Now - ClusterLease.ClockMargin - TimeSpan.FromSeconds(1) };

    private static Arrival At(ClusterLease? lease, params Reach[] reached) => new(lease, Now) { Reached = reached };

    [Fact]
    public void A_store_without_a_lease_is_taken() => Assert.Equal(Admission.Take, LeaseRules.Admit(At(null)));

    [Fact]
    public void A_store_that_its_last_silo_left_is_taken() =>
        Assert.Equal(Admission.Take, LeaseRules.Admit(At(Current with { Silos = [] })));

    [Fact]
    public void Who_joins_a_silo_that_the_lease_names_belongs_to_its_cluster() =>
        Assert.Equal(Admission.Enter, LeaseRules.Admit(At(Expired, Reach.Accepts) with { NamesMember = true }));

    [Fact]
    public void A_cluster_whose_silos_listen_is_left_alone() =>
        Assert.Equal(Admission.Refuse, LeaseRules.Admit(At(Current, Reach.Refuses, Reach.Accepts)));

    [Fact]
    public void The_own_membership_is_given_time_to_be_written_again_and_then_left_alone()
    {
        var arrival = At(Current, Reach.Accepts) with { SamePlace = true, MayHeal = true, Renewed = true };

        Assert.Equal(Admission.Wait, LeaseRules.Admit(arrival with { Waited = LeaseRules.HealPatience - TimeSpan.FromSeconds(1) }));
        Assert.Equal(Admission.Refuse, LeaseRules.Admit(arrival with { Waited = LeaseRules.HealPatience }));
        Assert.Equal(Admission.Refuse, LeaseRules.Admit(arrival with { MayHeal = false }));
    }

    [Fact]
    public void A_silo_that_listens_and_never_renews_holds_the_store_until_the_lease_ends()
    {
        var minute = TimeSpan.FromMinutes(1);
        var stopped = At(Current, Reach.Accepts) with { SamePlace = true, MayHeal = true, Waited = minute, Unchanged = minute };

        Assert.Equal(Admission.Wait, LeaseRules.Admit(stopped));
        Assert.Equal(Admission.Take, LeaseRules.Admit(stopped with { Lease = Expired }));
    }

    [Fact]
    public void A_store_whose_silos_all_refuse_connections_is_taken_before_the_lease_ends() =>
        Assert.Equal(Admission.Take, LeaseRules.Admit(At(Current, Reach.Refuses, Reach.Refuses)));

    [Fact]
    public void A_rejection_from_afar_may_be_a_firewalls_and_counts_once_no_renewal_came()
    {
        var rejected = At(Current, Reach.Rejected, Reach.Refuses);

        Assert.Equal(Admission.Wait, LeaseRules.Admit(rejected with { Unchanged = LeaseRules.RenewalPatience - TimeSpan.FromSeconds(1) }));
        Assert.Equal(Admission.Take, LeaseRules.Admit(rejected with { Unchanged = LeaseRules.RenewalPatience }));
        Assert.Equal(Admission.Refuse, LeaseRules.Admit(rejected with { Unchanged = LeaseRules.RenewalPatience, Renewed = true }));
    }

    [Theory]
    [InlineData("127.0.0.1:11112@7", "elsewhere", "127.0.0.1:11112 of elsewhere")]
    [InlineData("10.0.0.7:11111@7", "", "10.0.0.7:11111")]
    [InlineData("[fd00::7]:11111@7", "", "[fd00::7]:11111")]
    public void A_silo_is_named_with_its_machine_where_its_address_needs_one(string address, string host, string expected) =>
        Assert.Equal(expected, new LeasedSilo(host, address).ToString());

    [Fact]
    public void Where_nothing_comes_back_the_lease_has_to_end_by_any_clock()
    {
        Assert.Equal(Admission.Wait, LeaseRules.Admit(At(Current, Reach.Silent, Reach.Refuses)));
        var withinMargin = Current with { Expires = Now - ClusterLease.ClockMargin };
        Assert.Equal(Admission.Wait, LeaseRules.Admit(At(withinMargin, Reach.Silent, Reach.Silent)));
        Assert.Equal(Admission.Take, LeaseRules.Admit(At(Expired, Reach.Silent, Reach.Refuses)));
    }

    [Fact]
    public void A_lease_that_is_renewed_is_held_whatever_the_clocks_say() =>
        Assert.All(
            [Reach.Silent, Reach.Accepts],
            static reach => Assert.Equal(Admission.Refuse, LeaseRules.Admit(At(Expired, reach) with { Renewed = true })));

    [Fact]
    public void A_lease_that_has_ended_is_watched_before_it_is_taken_from_who_listens()
    {
        var arrival = At(Expired, Reach.Accepts);

        Assert.Equal(Admission.Wait, LeaseRules.Admit(arrival with { Unchanged = ClusterLease.Duration - TimeSpan.FromSeconds(1) }));
        Assert.Equal(Admission.Take, LeaseRules.Admit(arrival with { Unchanged = ClusterLease.Duration }));
    }

    [Fact]
    public void A_cluster_whose_first_silo_is_not_up_yet_is_joined_by_those_that_start_with_it_and_waited_for_by_others()
    {
        var starting = At(Current with { Starting = true }, Reach.Refuses);

        Assert.Equal(Admission.Enter, LeaseRules.Admit(starting with { SamePlace = true }));
        Assert.Equal(Admission.Wait, LeaseRules.Admit(starting));
        Assert.Equal(Admission.Take, LeaseRules.Admit(At(Expired with { Starting = true }, Reach.Refuses)));
    }

    [Fact]
    public void One_silo_writes_for_all()
    {
        var ours = new Watch(Current, Now) { Ours = true, NamesSelf = true };

        Assert.Equal(Upkeep.Write, LeaseRules.Keep(ours with { Speaks = true }));
        Assert.Equal(Upkeep.None, LeaseRules.Keep(ours));
        Assert.Equal(Upkeep.Write, LeaseRules.Keep(ours with { NamesSelf = false }));
        Assert.Equal(Upkeep.Write, LeaseRules.Keep(ours with { Lease = Current with { Expires = Now + TimeSpan.FromSeconds(5) } }));
        Assert.Equal(Upkeep.Write, LeaseRules.Keep(ours with { Lease = Current with { Starting = true } }));
    }

    [Fact]
    public void A_lease_that_was_lost_is_written_again_by_the_one_that_speaks()
    {
        Assert.Equal(Upkeep.Write, LeaseRules.Keep(new Watch(null, Now) { Speaks = true }));
        Assert.Equal(Upkeep.None, LeaseRules.Keep(new Watch(null, Now)));
    }

    [Fact]
    public void A_silo_whose_store_was_taken_by_others_ends() =>
        Assert.Equal(Upkeep.End, LeaseRules.Keep(new Watch(Current, Now) { Speaks = true }));

    [Fact]
    public void Clusters_that_turn_out_to_have_one_membership_are_one()
    {
        Assert.Equal(Upkeep.Adopt, LeaseRules.Keep(new Watch(Current, Now) { NamesMember = true }));
        var meeting = new Watch(Current, Now) { SamePlace = true };
        Assert.Equal(Upkeep.None, LeaseRules.Keep(meeting with { ForeignFor = LeaseRules.HealPatience - TimeSpan.FromSeconds(1) }));
        Assert.Equal(Upkeep.End, LeaseRules.Keep(meeting with { ForeignFor = LeaseRules.HealPatience }));
    }

    [Fact]
    public void A_store_whose_taker_is_gone_is_taken_back()
    {
        Assert.Equal(Upkeep.Write, LeaseRules.Keep(new Watch(Expired, Now) { Speaks = true }));
        Assert.Equal(Upkeep.None, LeaseRules.Keep(new Watch(Expired, Now)));
    }

    [Fact]
    public void A_lease_is_read_as_it_was_written_and_named_with_term_end_and_addresses()
    {
        var read = ClusterLease.Parse(Current.ToBytes());

        Assert.Equal(Current.ToBytes(), read.ToBytes());
        Assert.Equal(
            "the cluster of silos 127.0.0.1:11112, 127.0.0.1:11113 of other (fedrlora at redis://elsewhere:6379, term 3, until 12:00:30Z)",
            $"{read}");
    }

    [Fact]
    public void A_lease_that_was_changed_is_refused_by_name()
    {
        var bytes = Current.ToBytes();
        bytes[20] ^= 1;

        var refusal = Assert.Throws<Grains.Store.CorruptBlobException>(() => ClusterLease.Parse(bytes));
        Assert.StartsWith("cluster/lease.json has digest", refusal.Message, StringComparison.Ordinal);
    }
}
