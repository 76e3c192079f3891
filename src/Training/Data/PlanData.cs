using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;

namespace FedRLora.Training.Data;

/// <summary>The data files of a plan, where all of them are on this machine.</summary>
public static class PlanData
{
    /// <summary>Reads every client's files as training would.</summary>
    /// <param name="plan">The plan.</param>
    /// <param name="root">What its relative paths start from.</param>
    /// <param name="cancellationToken">The caller's token.</param>
    /// <returns>One line for each file that cannot be used: the file, the line, what was found and what was expected.</returns>
    public static async Task<IReadOnlyList<string>> ProblemsAsync(
        FederationPlan plan, string root, CancellationToken cancellationToken = default)
    {
        var slices = plan.Clients.SelectMany(static client => client.Data.Test is { } test
            ? new[] { (Path: client.Data.Train, client.Data.Offset, client.Data.Rows), (Path: test, Offset: 0, Rows: null) }
            : [(Path: client.Data.Train, client.Data.Offset, client.Data.Rows)]);
        var problems = new List<string>();
        foreach (var (path, offset, rows) in slices.Distinct())
        {
            try
            {
                await JsonLines.ReadAsync(Path.GetFullPath(path, Path.GetFullPath(root)), offset, rows, cancellationToken);
            }
            catch (BadInputException problem)
            {
                problems.Add(problem.Message);
            }
        }

        return problems;
    }
}
