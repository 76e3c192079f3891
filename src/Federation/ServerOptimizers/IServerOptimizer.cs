using FedRLora.Abstractions.Tensors;

namespace FedRLora.Federation.ServerOptimizers;

/// <summary>The coordinator's step on the aggregate update.</summary>
public interface IServerOptimizer
{
    /// <summary>
    /// The next shared state, rounded once to float32, and what the rule remembers. What the aggregate does not hold stays as it is, bit
    /// for bit, and so does what is remembered of it.
    /// </summary>
    /// <param name="global">The shared state that the clients started from.</param>
    /// <param name="update">The aggregate update, of the same names and shapes or of some of them.</param>
    /// <param name="state">What the rule remembered, by the names of <see cref="ServerMemory"/>; null at the start.</param>
    (AdapterState Global, AdapterState? State) Step(AdapterState global, AdapterState update, AdapterState? state);
}
