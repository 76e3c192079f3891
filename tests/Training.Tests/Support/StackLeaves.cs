using FedRLora.Training.Adapters;
using FedRLora.Training.Steps;

namespace FedRLora.Training.Tests;

/// <summary>A member of a stack as libtorch's autograd sees it: its parameters are leaves, whose gradients are the stack's.</summary>
internal static class StackLeaves
{
    public static PlacedAdapter Of(AdapterStack stack, int member)
    {
        var adapter = stack.Member(member);
        foreach (var (info, value) in adapter.Parameters.Where(static parameter => parameter.Info.Trains))
            value.requires_grad_().grad = stack.GradientOf(member, info.Name);
        return adapter;
    }
}
