using System.Globalization;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Training;

namespace FedRLora.Client.Rendering;

/// <summary>What has to be known of a valid plan, a line each.</summary>
internal static class PlanNotes
{
    // Above these a rate is several times what models of a size have been trained well with (docs/plan/training.md).
    private static readonly (long Parameters, double Most, string Suits)[] Rates =
        [(1_000_000_000, 1e-3, "2e-4"), (50_000_000, 3e-3, "1e-3")];

    /// <param name="plan">The plan.</param>
    /// <param name="folder">Where its relative paths start from; null where its model is elsewhere.</param>
    public static IEnumerable<string> Of(FederationPlan plan, string? folder = null)
    {
        if (plan.Training.Threads == 0)
        {
            yield return "training.threads: 0 takes all processors of a machine for each group, and the last bits of the results then "
                + "depend on their number; with 1, groups train side by side and no bit depends on it.";
        }

        // An AdamW's step is about as long as its rate, whatever the gradient is; those of others are not.
        if (folder is not null && plan.Training.Optimizer == LocalOptimizer.AdamW
            && ParametersOf(Path.GetFullPath(plan.Model.Path, folder)) is { } parameters
            && Rates.FirstOrDefault(rate => parameters >= rate.Parameters) is { Suits: not null } one
            && plan.Training.LearningRate > one.Most)
        {
            yield return string.Create(CultureInfo.InvariantCulture, $"training.learningRate: {plan.Training.LearningRate} is high for "
                + $"{plan.Model.Path}, whose blocks have {parameters / 1e6:0} million parameters; {one.Suits} suits models of its size.");
        }
    }

    // Of the layers inside the blocks; null where the model cannot be read, which is said elsewhere.
    private static long? ParametersOf(string model)
    {
        try
        {
            return PlanForecast.ParametersOf(model);
        }
        catch (BadInputException)
        {
            return null;
        }
    }
}
