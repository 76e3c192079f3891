using FedRLora.Abstractions.Plans;

namespace FedRLora.Client.Rendering;

/// <summary>What has to be known of a valid plan, a line each.</summary>
internal static class PlanNotes
{
    public static IEnumerable<string> Of(FederationPlan plan)
    {
        if (plan.Training.Threads == 0)
        {
            yield return "training.threads: 0 takes all processors of a machine for each group, and the last bits of the results then "
                + "depend on their number; with 1, groups train side by side and no bit depends on it.";
        }
    }
}
