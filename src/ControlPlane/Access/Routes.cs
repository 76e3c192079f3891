namespace FedRLora.ControlPlane.Access;

/// <summary>A route of the control plane.</summary>
/// <param name="Method">GET or POST.</param>
/// <param name="Pattern">Its path.</param>
/// <param name="Policy">What it asks of the caller.</param>
public sealed record ControlRoute(string Method, string Pattern, Policy Policy);

/// <summary>Every route with its policy: one that is not in this table is not mapped.</summary>
public static class Routes
{
    private const string Run = "/v1/runs/{run}", Client = Run + "/clients/{client}";

    /// <summary>A route; its name says what it does.</summary>
    public static readonly ControlRoute
        Live = new("GET", "/health/live", Policy.Anyone),
        Ready = new("GET", "/health/ready", Policy.Anyone),
        Enter = new("GET", "/enter", Policy.Anyone),
        Home = new("GET", "/", Policy.View),
        Metrics = new("GET", "/metrics", Policy.View),
        OpenApi = new("GET", "/openapi/v1.json", Policy.View),
        ListRuns = new("GET", "/v1/runs", Policy.View),
        Submit = new("POST", "/v1/runs", Policy.Operate),
        ShowRun = new("GET", Run, Policy.View),
        Events = new("GET", Run + "/events", Policy.View),
        Rounds = new("GET", Run + "/rounds", Policy.View),
        Plan = new("GET", Run + "/plan", Policy.View),
        Report = new("GET", Run + "/report", Policy.View),
        RunMetrics = new("GET", Run + "/metrics", Policy.View),
        LocalOnly = new("GET", Run + "/local-only", Policy.View),
        Logs = new("GET", Run + "/logs", Policy.View),
        Verify = new("GET", Run + "/verification", Policy.View),
        Pause = new("POST", Run + "/pause", Policy.Operate),
        Resume = new("POST", Run + "/resume", Policy.Operate),
        Cancel = new("POST", Run + "/cancel", Policy.Operate),
        Extend = new("POST", Run + "/extend", Policy.Operate),
        Fork = new("POST", Run + "/fork", Policy.Operate),
        Evaluate = new("POST", Run + "/evaluate", Policy.Operate),
        Adapter = new("GET", Client + "/adapter", Policy.ReadSite),
        RowScores = new("GET", Client + "/row-scores", Policy.ReadSite),
        Steps = new("GET", Client + "/steps", Policy.ReadSite),
        Generate = new("POST", Client + "/generate", Policy.ReadSite),
        Sites = new("GET", "/v1/sites", Policy.View),
        Silos = new("GET", "/v1/silos", Policy.View),
        SiloLogs = new("GET", "/v1/logs", Policy.View);

    /// <summary>All of them.</summary>
    public static IReadOnlyList<ControlRoute> All { get; } =
    [
        Live, Ready, Enter, Home, Metrics, OpenApi, ListRuns, Submit, ShowRun, Events, Rounds, Plan, Report, RunMetrics, LocalOnly, Logs, Verify,
        Pause, Resume, Cancel, Extend, Fork, Evaluate, Adapter, RowScores, Steps, Generate, Sites, Silos, SiloLogs,
    ];
}
