using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Adapters;

namespace FedRLora.Training.Steps;

/// <summary>
/// Moments of factors that have begun again since are void. A stored state says how often they had begun again when it was made; one
/// that says nothing is from before.
/// </summary>
internal static class RestartedMoments
{
    private const string Mark = "restarts";

    /// <summary>The state with its mark, where the method's factors have begun again.</summary>
    public static AdapterState Marked(AdapterState state, AdapterLayout layout) => layout.Restarts == 0 ? state
        : new([.. state, KeyValuePair.Create(Mark, new NamedArray([], [layout.Restarts]))]);

    /// <summary>Whether factors have begun again since a state was made.</summary>
    public static bool AreFromBefore(AdapterState state, AdapterLayout layout) =>
        (state.TryGetValue(Mark, out var restarts) ? (int)restarts.Data[0] : 0) != layout.Restarts;
}
