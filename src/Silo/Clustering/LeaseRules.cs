namespace FedRLora.Silo.Clustering;

/// <summary>What became of a connection to a silo.</summary>
internal enum Reach
{
    /// <summary>Somebody listens.</summary>
    Accepts,

    /// <summary>The machine answers that nobody listens.</summary>
    Refuses,

    /// <summary>Another machine answers that nobody listens, or a firewall before a silo that lives.</summary>
    Rejected,

    /// <summary>Nothing came back, or it cannot be asked from here.</summary>
    Silent,
}

/// <summary>What a silo that starts does about the lease.</summary>
internal enum Admission
{
    /// <summary>It belongs to the cluster that holds it.</summary>
    Enter,

    /// <summary>The store is free: it takes it.</summary>
    Take,

    /// <summary>It looks again.</summary>
    Wait,

    /// <summary>Another cluster works on the store.</summary>
    Refuse,
}

/// <summary>What a running silo does about the lease.</summary>
internal enum Upkeep
{
    /// <summary>Nothing.</summary>
    None,

    /// <summary>It writes its cluster's lease.</summary>
    Write,

    /// <summary>The two clusters have one membership, so that they are one: it goes on under the lease that is there.</summary>
    Adopt,

    /// <summary>Another cluster has taken the store: it ends.</summary>
    End,
}

/// <summary>What a silo that starts knows.</summary>
/// <param name="Lease">The lease; null where none was ever written.</param>
/// <param name="Now">The time.</param>
internal sealed record Arrival(ClusterLease? Lease, DateTimeOffset Now)
{
    /// <summary>Whether the lease was taken by this silo.</summary>
    public bool Ours { get; init; }

    /// <summary>Whether a silo that it names is in the membership that this silo joins.</summary>
    public bool NamesMember { get; init; }

    /// <summary>Whether it names the same membership.</summary>
    public bool SamePlace { get; init; }

    /// <summary>Whether that membership may be about to be written again, after its store came back empty.</summary>
    public bool MayHeal { get; init; }

    /// <summary>What became of a connection to each silo that it names.</summary>
    public IReadOnlyList<Reach> Reached { get; init; } = [];

    /// <summary>Whether its cluster renewed it while this silo was looking.</summary>
    public bool Renewed { get; init; }

    /// <summary>For how long this silo has been looking at it unchanged.</summary>
    public TimeSpan Unchanged { get; init; }

    /// <summary>For how long this silo has been looking.</summary>
    public TimeSpan Waited { get; init; }
}

/// <summary>What a running silo knows.</summary>
/// <param name="Lease">The lease; null where there is none that can be read.</param>
/// <param name="Now">The time.</param>
internal sealed record Watch(ClusterLease? Lease, DateTimeOffset Now)
{
    /// <summary>Whether it is this silo's cluster that holds it.</summary>
    public bool Ours { get; init; }

    /// <summary>Whether this silo is the one that writes for all.</summary>
    public bool Speaks { get; init; }

    /// <summary>Whether it names this silo.</summary>
    public bool NamesSelf { get; init; }

    /// <summary>Whether it names a silo of this silo's membership.</summary>
    public bool NamesMember { get; init; }

    /// <summary>Whether it names the same membership.</summary>
    public bool SamePlace { get; init; }

    /// <summary>For how long another cluster has held it.</summary>
    public TimeSpan ForeignFor { get; init; }
}

/// <summary>
/// Who may work on a store, as functions of what a silo knows. The lease in the store is the truth: of two clusters, the one that it
/// does not name is the younger.
/// </summary>
internal static class LeaseRules
{
    /// <summary>How long a membership may take to be whole again after its store came back empty.</summary>
    public static readonly TimeSpan HealPatience = TimeSpan.FromSeconds(30);

    /// <summary>For how long a lease has to stay as it is, which a cluster that lives renews every 5 s, until rejections count.</summary>
    public static readonly TimeSpan RenewalPatience = TimeSpan.FromSeconds(15);

    /// <summary>What a silo does that has not joined yet.</summary>
    public static Admission Admit(Arrival arrival)
    {
        if (arrival.Lease is not { Silos.Count: > 0 } lease) return Admission.Take;
        if (arrival.Ours || arrival.NamesMember) return Admission.Enter;
        var expired = lease.HasExpired(arrival.Now) && !arrival.Renewed; // a renewed one lives, whatever the clocks say
        if (lease.Starting && arrival.SamePlace && !expired) return Admission.Enter;
        if (arrival.Renewed || arrival.Reached.Contains(Reach.Accepts))
        {
            // Without a renewal nothing says that who listens still works: then the end of the lease decides.
            if (!expired) return arrival is { SamePlace: true, MayHeal: true } && (!arrival.Renewed || arrival.Waited < HealPatience)
                ? Admission.Wait
                : Admission.Refuse;
            return arrival.Unchanged < ClusterLease.Duration ? Admission.Wait : Admission.Take; // who listens there is somebody else by now
        }

        var gone = !lease.Starting && arrival.Reached.All(reach =>
            reach == Reach.Refuses || (reach == Reach.Rejected && arrival.Unchanged >= RenewalPatience));
        return gone || expired ? Admission.Take : Admission.Wait;
    }

    /// <summary>What an active silo does every few seconds.</summary>
    public static Upkeep Keep(Watch watch)
    {
        if (watch.Lease is not { Silos.Count: > 0 } lease) return watch.Speaks ? Upkeep.Write : Upkeep.None;
        if (watch.Ours)
        {
            // The others write where the one that should is late, and to be named themselves.
            var late = lease.Expires - watch.Now < ClusterLease.Duration / 2;
            return watch.Speaks || lease.Starting || late || !watch.NamesSelf ? Upkeep.Write : Upkeep.None;
        }

        if (watch.NamesMember) return Upkeep.Adopt;
        if (lease.HasExpired(watch.Now)) return watch.Speaks ? Upkeep.Write : Upkeep.None;
        return watch.SamePlace && watch.ForeignFor < HealPatience ? Upkeep.None : Upkeep.End;
    }
}
