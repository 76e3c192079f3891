using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Training.Adapters;

namespace FedRLora.Client.Local;

/// <summary>The sizes of a plan's tensors, where its model can be read.</summary>
internal static class PlanSizes
{
    /// <param name="plan">The plan.</param>
    /// <param name="root">Where its relative paths start from.</param>
    /// <returns>The sizes, or why there are none.</returns>
    public static (AdapterSizes? Sizes, string Why) Of(FederationPlan plan, string root)
    {
        if (plan.Adapter.From is { } given) return (null, $"the ranks of {given} decide");
        try
        {
            return (AdapterSizes.On(plan.Adapter, Path.GetFullPath(plan.Model.Path, root)), "");
        }
        catch (BadInputException e)
        {
            return (null, e.Message);
        }
        catch (Exception e) when (Cli.Missing(e) is not null)
        {
            return (null, "libtorch cannot be used here, fedrlora doctor says why");
        }
    }
}
