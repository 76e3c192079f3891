using System.CommandLine;
using System.Text.Json.Nodes;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Client.Rendering;
using FedRLora.Training;

namespace FedRLora.Client.Commands;

/// <summary>
/// <c>fedrlora validate plan.yaml</c>: needs no model and no silo; what it says of groups it says where it finds the model.
/// </summary>
internal static class ValidateCommand
{
    public static Command Create()
    {
        var plan = new Argument<string>("plan") { Description = "The plan file (YAML)" };
        var json = SharedOptions.Json();
        var command = new Command("validate", "Check a plan as a whole and report every problem with line and column") { plan, json };
        command.SetAction(parsed => Run(
            PlanFile.Open(parsed.GetRequiredValue(plan)),
            parsed.GetValue(json),
            parsed.InvocationConfiguration.Output,
            parsed.InvocationConfiguration.Error));
        return command;
    }

    private static int Run(PlanFile file, bool json, TextWriter output, TextWriter error)
    {
        var result = file.Read();
        if (json)
            output.WriteLine(ToJson(file, result).ToJsonString(Json.Indented));
        else if (result.Plan is { } plan)
            output.WriteLine(string.Join(
                '\n', [$"{file.Path}: valid. {Describe(plan)}", Groups(plan, file.Folder).Text, .. PlanNotes.Of(plan)]));
        else
            error.WriteLine(string.Join('\n', result.Problems));
        return result.Plan is null ? ExitCode.BadInput : ExitCode.Done;
    }

    private static string Describe(FederationPlan plan) =>
        $"{plan.Adapter.Method} on {plan.Model.Path}: {Words.Count(plan.Clients.Count, "client")}, "
        + $"{Words.Count(plan.Clients.DistinctBy(static c => c.Task).Count(), "task")}, "
        + $"{Words.Count(plan.Clients.DistinctBy(static c => c.Site).Count(), "site")}, {Words.Count(plan.Strategy.Rounds, "round")}.";

    // How the clients of each site are cut where all take part.
    private static (int? Size, string Text) Groups(FederationPlan plan, string folder)
    {
        int size;
        try
        {
            size = GroupSizing.Of(plan, Path.GetFullPath(plan.Model.Path, folder));
        }
        catch (BadInputException e)
        {
            return (null, $"Groups: chosen when the run begins, from the model's shapes, which cannot be read here: {e.Message}");
        }
        catch (Exception e) when (Cli.Missing(e) is not null)
        {
            return (null, "Groups: chosen when the run begins; libtorch cannot be used here, fedrlora doctor says why.");
        }

        var why = plan.Training.GroupSize is not null ? ""
            : GroupSizing.WhyOne(plan) is { } one ? $" (auto: {one})"
            : " (auto, from the shapes of model and plan)";
        var sites = plan.Clients.CountBy(static client => client.Site).OrderBy(static site => site.Key, StringComparer.Ordinal).ToList();
        var groups = sites.Sum(site => (site.Value + size - 1) / size);
        return (size, $"Groups: {(size == 1 ? "each client by itself" : $"up to {size} clients of a site train together")}{why}, "
            + $"{Words.Count(groups, "group")} in all.");
    }

    private static JsonObject ToJson(PlanFile file, PlanReadResult result) => new()
    {
        ["file"] = file.Path,
        ["valid"] = result.Plan is not null,
        ["sha256"] = file.Sha256,
        ["groupSize"] = result.Plan is { } plan ? Groups(plan, file.Folder).Size : null,
        ["problems"] = new JsonArray([.. result.Problems.Select(static problem => new JsonObject
        {
            ["line"] = problem.Line, ["column"] = problem.Column, ["message"] = problem.Message,
        })]),
    };
}
