using FedRLora.Abstractions.Tensors;

namespace FedRLora.Federation.ServerOptimizers;

/// <summary>The coordinator's step on the aggregate update.</summary>
public interface IServerOptimizer
{
    /// <summary>The next shared state, rounded once to float32, and what the rule remembers.</summary>
    /// <param name="global">The shared state that the clients started from.</param>
    /// <param name="update">The aggregate update; same names and shapes.</param>
    /// <param name="state">What the rule remembered; null at the start.</param>
    (AdapterState Global, AdapterState? State) Step(AdapterState global, AdapterState update, AdapterState? state);
}
