using System.Globalization;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.ControlPlane.Trackers;
using FedRLora.Silo.Metrics;

namespace FedRLora.Silo.Trackers;

/// <summary>What a tracker is told of a run beside its points.</summary>
/// <param name="Experiment">The plan's name.</param>
/// <param name="Start">When round 0 was committed.</param>
/// <param name="Parameters">Values of the plan.</param>
/// <param name="Tags">What does not change.</param>
internal sealed record RunDescription(
    string Experiment, DateTimeOffset Start, IReadOnlyList<KeyValuePair<string, string>> Parameters,
    IReadOnlyDictionary<string, string> Tags)
{
    private const string Prefix = "fedrlora.";

    /// <summary>The tag that a run is found by.</summary>
    public const string IdTag = Prefix + "id";

    /// <summary>Of a plan and the first round that was committed.</summary>
    public static RunDescription Of(string run, FederationPlan plan, RoundSummary first, DateTimeOffset start)
    {
        var all = PlanParameters.Of(plan);
        var tooLong = all.Where(static one => one.Value.Length > MlflowRun.LongestParameter).Select(static one => one.Key).ToList();
        var tags = new Dictionary<string, string>(StringComparer.Ordinal)
        {
            [Prefix + "run"] = run, [Prefix + "plan"] = plan.Name, [Prefix + "plan_sha256"] = first.Manifest.PlanSha256,
            [Prefix + "version"] = MetricsPage.Version, [Prefix + "method"] = plan.Adapter.Method,
        };
        if (first.Manifest.Engine is { Length: <= MlflowRun.LongestTag } engine) tags[Prefix + "engine"] = engine;
        if (LocalOnlyRun.RunOf(run) is { } whole) tags[Prefix + "local_only_of"] = whole;
        if (tooLong.Count > 0) tags[Prefix + "params_left_out"] = string.Join(", ", tooLong);
        return new(plan.Name, start, [.. all.Where(static one => one.Value.Length is > 0 and <= MlflowRun.LongestParameter)], tags);
    }

    /// <summary>All tags, with those of where the run stands.</summary>
    public Dictionary<string, string> TagsAt(JobProgress progress, string sha256, string? stopped) => new(Tags, StringComparer.Ordinal)
    {
        [Prefix + "state"] = stopped ?? progress.Status.ToString().ToLowerInvariant(),
        [Prefix + "rounds"] = progress.Rounds.ToString(CultureInfo.InvariantCulture),
        [Prefix + "digest"] = sha256,
    };
}
