using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Tensors;
using static TorchSharp.torch;

namespace FedRLora.Training.Steps;

/// <summary>How the tensors of all members of a stack step on their gradients.</summary>
internal interface IMemberOptimizer
{
    /// <summary>
    /// Clips each member's joint norm and takes a step; nothing is read back from the device. What moves by counts moves with it.
    /// </summary>
    /// <param name="learningRates">Of this step, for the first members of the stack; the others stay as they are.</param>
    /// <param name="headsOnly">Leaves tensors of scope Job as they are, and out of the norm.</param>
    /// <param name="correct">Adds to gradients that are clipped already, given the number of members; null for none.</param>
    /// <param name="norms">Gets each member's joint norm before it is clipped, where anything steps; null where nobody asks.</param>
    void Step(IReadOnlyList<double> learningRates, bool headsOnly = false, Action<int>? correct = null, Tensor? norms = null);

    /// <summary>What it remembers of a member's tensors; empty for nothing.</summary>
    AdapterState Export(int member);
}

/// <summary>The optimizer that a plan names.</summary>
internal static class MemberOptimizers
{
    /// <summary>Over a stack.</summary>
    /// <param name="stack">Whose tensors are stepped.</param>
    /// <param name="spec">The plan's.</param>
    /// <param name="states">What each member's remembers, checked.</param>
    public static IMemberOptimizer Of(AdapterStack stack, TrainingSpec spec, IReadOnlyList<AdapterState> states) => spec.Optimizer switch
    {
        LocalOptimizer.AdamW => new AdamW(stack, spec, states),
        LocalOptimizer.Sgd => new Sgd(stack, spec),
        _ => throw new ArgumentOutOfRangeException(nameof(spec), spec.Optimizer, "no such optimizer"),
    };
}
