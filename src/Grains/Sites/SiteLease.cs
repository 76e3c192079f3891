namespace FedRLora.Grains.Sites;

/// <summary>
/// A site's leave to work for a run. It is held while the coordinator answers and is over when it has answered nothing for too long: the
/// run may have ended or gone on without the site meanwhile, and nobody on the other side of a cut link can say so.
/// </summary>
internal sealed class SiteLease(IGrainBase grain, TimeSpan duration, TimeProvider time)
{
    private const int Renewals = 4; // in the time of a lease

    private IGrainTimer? _renewing;
    private long _heardAt;

    /// <summary>How long a renewal is waited for.</summary>
    public TimeSpan Patience => duration / Renewals;

    /// <summary>How long ago the coordinator was last heard.</summary>
    public TimeSpan Silence => time.GetElapsedTime(_heardAt);

    /// <summary>Whether the coordinator has answered nothing for too long.</summary>
    public bool IsOver => Silence >= duration;

    /// <summary>The coordinator was heard.</summary>
    public void Heard() => _heardAt = time.GetTimestamp();

    /// <summary>Has it renewed now and then from here on.</summary>
    public void Hold(Func<Task> renew)
    {
        Heard();
        _renewing ??= grain.RegisterGrainTimer(
            static (renew, _) => renew(), renew,
            // beside calls, which may be those that wait for the coordinator
            new GrainTimerCreationOptions(Patience, Patience) { KeepAlive = true, Interleave = true });
    }

    /// <summary>Nothing is at work.</summary>
    public void Release()
    {
        _renewing?.Dispose();
        _renewing = null;
    }
}
