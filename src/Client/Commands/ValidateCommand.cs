using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Client.Local;
using FedRLora.Client.Rendering;
using FedRLora.ControlPlane.Views;
using FedRLora.Training;

namespace FedRLora.Client.Commands;

/// <summary>
/// <c>fedrlora validate plan.yaml</c>: needs no model and no silo; what it says of groups it says where it finds the model.
/// </summary>
internal static class ValidateCommand
{
    private const int MostTasks = 8;

    public static Command Create()
    {
        var plan = new Argument<string>("plan") { Description = "The plan file (YAML)" };
        var set = SharedOptions.Set();
        var forecast = new Option<bool>("--forecast")
        {
            Description = "Also say how long the run takes on this machine: reads a sample of the rows and measures for some seconds",
        };
        var json = SharedOptions.Json();
        var command = new Command("validate", "Check a plan as a whole and report every problem with line and column")
        {
            plan, set, forecast, json,
        };
        command.SetAction(async (parsed, cancellationToken) =>
        {
            var file = PlanFile.Open(parsed.GetRequiredValue(plan)).With(parsed.GetValue(set) ?? []);
            var result = file.Read();
            var time = parsed.GetValue(forecast) && result.Plan is { } read
                ? await PlanForecast.MakeAsync(read, file.Folder, cancellationToken) : null;
            return Run(
                file, result, time, [.. parsed.GetValue(set) ?? []], parsed.GetValue(json), parsed.InvocationConfiguration.Output,
                parsed.InvocationConfiguration.Error, Screen.Of(parsed, parsed.GetValue(json)).Width);
        });
        return command;
    }

    private static int Run(
        PlanFile file, PlanReadResult result, PlanForecast? time, IReadOnlyList<string> changes, bool json, TextWriter output,
        TextWriter error, int? width)
    {
        if (json)
            output.WriteLine(ToJson(file, result, time).ToJsonString(Json.Indented));
        else if (result.Plan is { } plan)
            output.WriteLine(string.Join(
                '\n', [Line($"{file.Path}{With(changes)}: valid. {Describe(plan)}"), Line(Groups(plan, file.Folder).Text),
                    .. Tensors(file, plan, width), .. PlanNotes.Of(plan, file.Folder).Concat(Forecast(time)).Select(Line)]));
        else
            error.WriteLine(string.Join('\n', result.Problems));
        return result.Plan is null ? ExitCode.BadInput : ExitCode.Done;

        string Line(string text) => Words.Broken(text, width);
    }

    private static string With(IReadOnlyList<string> changes) => changes.Count == 0
        ? ""
        : $" with {string.Join(", ", changes.Select(BadInputException.Shown))}";

    private static string Describe(FederationPlan plan) =>
        $"{plan.Adapter.Method} on {plan.Model.Path}: {Words.Count(plan.Clients.Count, "client")}, "
        + $"{Words.Count(plan.Clients.DistinctBy(static c => c.Task).Count(), "task")}, "
        + $"{Words.Count(plan.Clients.DistinctBy(static c => c.Site).Count(), "site")}, {Words.Count(plan.Strategy.Rounds, "round")}.";

    // Who receives each tensor, and what of it leaves a client.
    private static IEnumerable<string> Tensors(PlanFile file, FederationPlan plan, int? width)
    {
        var (sizes, why) = PlanSizes.Of(plan, file.Folder);
        var tensors = TensorUse.Of(plan.Adapter, sizes?.Bytes);
        yield return "";
        yield return PlainTable.Of(["tensor", "scope", "received by", "clients", "a client"],
        [
            .. tensors.Select(tensor => (string[])
            [
                tensor.Tensor, Words.Named(tensor.Scope), tensor.ReceivedBy, SharedOver(plan, tensor.Scope),
                tensor.Bytes is { } bytes ? Words.Bytes(bytes) : Words.None,
            ]),
        ], width);
        if (tensors.Any(static tensor => tensor.Scope == Scope.Task)) yield return Words.Broken(ByTask(plan), width);
        yield return Words.Broken(TensorUse.Leaves(tensors, plan), width);
        if (HeadHint.Of(file, plan) is { } hint) yield return Words.Broken(hint, width);
        if (sizes is null) yield return Words.Broken($"Sizes follow from the model: {why}", width);
    }

    // How many clients aggregate one tensor of a scope.
    private static string SharedOver(FederationPlan plan, Scope scope)
    {
        if (scope == Scope.Job) return $"{plan.Clients.Count}";
        if (scope != Scope.Task) return Words.None;
        var sizes = ClientsByTask(plan).Values;
        return sizes.Min() == sizes.Max() ? $"{sizes.Min()}" : $"{sizes.Min()} to {sizes.Max()}";
    }

    private static string ByTask(FederationPlan plan)
    {
        var tasks = ClientsByTask(plan);
        var more = tasks.Count > MostTasks ? $" and {tasks.Count - MostTasks} more (--json has all)" : "";
        return $"Clients of a task: {string.Join(", ", tasks.Take(MostTasks).Select(static task => $"{task.Key} {task.Value}"))}{more}.";
    }

    private static SortedDictionary<string, int> ClientsByTask(FederationPlan plan) =>
        new(plan.Clients.CountBy(static client => client.Task).ToDictionary(StringComparer.Ordinal), StringComparer.Ordinal);

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

    private static IEnumerable<string> Forecast(PlanForecast? time)
    {
        if (time is null) yield break;
        yield return string.Create(CultureInfo.InvariantCulture, $"Forecast, within a factor of two: {time.Shown} on this machine "
            + $"({time.Engine.GflopsAllLanes:0} GFLOPS in {Words.Count(time.Engine.Lanes, "lane")}), "
            + $"{time.ShownScoring} of it for scores.");
    }

    private static JsonObject ToJson(PlanFile file, PlanReadResult result, PlanForecast? time)
    {
        var tensors = result.Plan is { } read ? TensorUse.Of(read.Adapter, PlanSizes.Of(read, file.Folder).Sizes?.Bytes) : null;
        return new()
        {
            ["schema"] = Json.Schema,
            ["file"] = file.Path,
            ["valid"] = result.Plan is not null,
            ["sha256"] = file.Sha256,
            ["groupSize"] = result.Plan is { } plan ? Groups(plan, file.Folder).Size : null,
            ["tensors"] = JsonSerializer.SerializeToNode(tensors, Json.Indented),
            ["bytesEachWay"] = tensors is null ? null : JsonSerializer.SerializeToNode(TensorUse.ByScope(tensors), Json.Indented),
            ["hint"] = result.Plan is { } hinted ? HeadHint.Of(file, hinted) : null,
            ["clientsByTask"] = result.Plan is { } some ? JsonSerializer.SerializeToNode(ClientsByTask(some), Json.Indented) : null,
            ["forecast"] = time is null ? null : new JsonObject
            {
                ["trainingSeconds"] = time.Training.TotalSeconds, ["scoringSeconds"] = time.Scoring.TotalSeconds,
                ["gflops"] = time.Engine.GflopsAllLanes,
            },
            ["problems"] = new JsonArray([.. result.Problems.Select(static problem => new JsonObject
            {
                ["line"] = problem.Line > 0 ? problem.Line : null, ["column"] = problem.Line > 0 ? problem.Column : null,
                ["setBy"] = problem.Line > 0 ? null : problem.File, ["message"] = problem.Message,
            })]),
        };
    }
}
