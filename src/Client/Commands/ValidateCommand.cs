using System.CommandLine;
using System.Text.Json.Nodes;
using FedRLora.Abstractions.Plans;
using FedRLora.Client.Rendering;

namespace FedRLora.Client.Commands;

/// <summary><c>fedrlora validate plan.yaml</c>: needs no model and no silo.</summary>
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
            output.WriteLine($"{file.Path}: valid. {Describe(plan)}");
        else
            error.WriteLine(string.Join('\n', result.Problems));
        return result.Plan is null ? ExitCode.BadInput : ExitCode.Done;
    }

    private static string Describe(FederationPlan plan) =>
        $"{plan.Adapter.Method} on {plan.Model.Path}: {Words.Count(plan.Clients.Count, "client")}, {Words.Count(plan.Clients.DistinctBy(static c => c.Task).Count(), "task")}, " +
        $"{Words.Count(plan.Clients.DistinctBy(static c => c.Site).Count(), "site")}, {Words.Count(plan.Strategy.Rounds, "round")}.";

    private static JsonObject ToJson(PlanFile file, PlanReadResult result) => new()
    {
        ["file"] = file.Path,
        ["valid"] = result.Plan is not null,
        ["sha256"] = file.Sha256,
        ["problems"] = new JsonArray([.. result.Problems.Select(static problem => new JsonObject
        {
            ["line"] = problem.Line, ["column"] = problem.Column, ["message"] = problem.Message,
        })]),
    };
}
