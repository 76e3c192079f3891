namespace FedRLora.Silo.Clustering;

/// <summary>Tells whoever runs a silo that it must not go on, and why.</summary>
public sealed class SiloEnding
{
    private readonly TaskCompletionSource<string> _reason = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>Completes with one line for people, or never.</summary>
    public Task<string> Reason => _reason.Task;

    /// <summary>Whether there is one. What frameworks say from there on is noise of the end.</summary>
    public bool IsOver => Reason.IsCompleted;

    /// <summary>Ends the silo; only the first reason counts.</summary>
    public void End(string reason) => _reason.TrySetResult(reason);
}
