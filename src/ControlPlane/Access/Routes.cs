namespace FedRLora.ControlPlane.Access;

/// <summary>A route of the control plane.</summary>
/// <param name="Name">What clients that are generated from the document call it.</param>
/// <param name="Method">GET or POST.</param>
/// <param name="Pattern">Its path.</param>
/// <param name="Policy">What it asks of the caller.</param>
/// <param name="Summary">What it gives or does.</param>
public sealed record ControlRoute(string Name, string Method, string Pattern, Policy Policy, string Summary)
{
    /// <summary>Whether the record of what was done has it: what changes something, and what reads from a site.</summary>
    public bool IsAudited => Method == "POST" || Policy == Policy.ReadSite;
}

/// <summary>Every route with its policy: one that is not in this table is not mapped.</summary>
public static class Routes
{
    private const string Run = "/v1/runs/{run}", Client = Run + "/clients/{client}";

    /// <summary>A route; its summary says what it does.</summary>
    public static readonly ControlRoute
        Live = new("live", "GET", "/health/live", Policy.Anyone, "Whether the process lives; no store is asked"),
        Ready = new("ready", "GET", "/health/ready", Policy.Anyone, "Whether the silo can work: its store answers, and it is not stopping"),
        Enter = new("enter", "GET", "/enter", Policy.Anyone, "Lets a browser in, by a code that was printed"),
        Admit = new("admitBrowser", "POST", "/v1/entrances", Policy.Operate, "Makes an address that lets one browser in"),
        Home = new("home", "GET", "/", Policy.View, "The page that lists the runs; of a process of one run, that run's"),
        RunPage = new("runPage", "GET", "/runs/{run}", Policy.View, "The page of a run"),
        Assets = new("assets", "GET", "/assets/{hash}/{**file}", Policy.View, "Files of the pages, by a hash of all of them"),
        Metrics = new("metrics", "GET", "/metrics", Policy.View, "What this silo has measured, for Prometheus"),
        OpenApi = new("openApi", "GET", "/openapi/v1.json", Policy.View, "This document"),
        ListRuns = new("listRuns", "GET", "/v1/runs", Policy.View, "Every run of the store"),
        Submit = new("submitRun", "POST", "/v1/runs", Policy.Operate, "Begins a run"),
        ShowRun = new("getRun", "GET", Run, Policy.View, "A run: where it stands, its sites and clients, its rounds so far"),
        Events = new("watchRun", "GET", Run + "/events", Policy.View,
            "What happens in a run, as server-sent events; Last-Event-ID goes on where a listener was, at any silo"),
        ManyEvents = new("watchRuns", "GET", "/v1/events", Policy.View,
            "What happens in several runs, as one stream of server-sent events; Last-Event-ID goes on in each where a listener was"),
        Rounds = new("getRounds", "GET", Run + "/rounds", Policy.View,
            "Committed rounds after one: stored manifests, one JSON object a line"),
        Plan = new("getPlan", "GET", Run + "/plan", Policy.View, "The plan's text"),
        Report = new("getReport", "GET", Run + "/report", Policy.View, "The report, one HTML file that needs nothing else"),
        RunMetrics = new("getRunMetrics", "GET", Run + "/metrics", Policy.View,
            "Numbers of rounds, clients and tasks, as CSV or JSON Lines"),
        Result = new("getResult", "GET", Run + "/result", Policy.View,
            "The outcome of what is committed: each client, the mean and the tasks beside base and local-only reference"),
        Grid = new("getGrid", "GET", Run + "/grid", Policy.View, "A number of every client in every round: loss, score or seconds"),
        Tasks = new("getTasks", "GET", Run + "/tasks", Policy.View, "Losses and scores of tasks in every round"),
        Stragglers = new("getStragglers", "GET", Run + "/stragglers", Policy.View,
            "The clients that took longest in their last round, beside their own median"),
        ClientRounds = new("getClientRounds", "GET", Client + "/rounds", Policy.View, "A client in every committed round"),
        LocalOnly = new("getLocalOnly", "GET", Run + "/local-only", Policy.View,
            "The last scores beside those of the local-only reference"),
        Compare = new("compareRuns", "GET", "/v1/compare", Policy.View, "The outcomes of runs side by side, with differences to the first"),
        Logs = new("getRunLogs", "GET", Run + "/logs", Policy.View, "What the silos say of a run in their logs"),
        Verify = new("verifyRun", "GET", Run + "/verification", Policy.View,
            "Whether all that a run's manifests name is there, at every site"),
        Pause = new("pauseRun", "POST", Run + "/pause", Policy.Operate, "Stops a run until it is resumed"),
        Resume = new("resumeRun", "POST", Run + "/resume", Policy.Operate, "Continues a run after its last committed round"),
        Cancel = new("cancelRun", "POST", Run + "/cancel", Policy.Operate, "Ends a run; what is committed is kept"),
        Extend = new("extendRun", "POST", Run + "/extend", Policy.Operate, "Gives a run more rounds"),
        Fork = new("forkRun", "POST", Run + "/fork", Policy.Operate, "Begins a run where a round of another ended"),
        Evaluate = new("evaluateRun", "POST", Run + "/evaluate", Policy.Operate, "Scores committed states again, each at its site"),
        Adapter = new("getAdapter", "GET", Client + "/adapter", Policy.ReadSite, "A client's adapter in PEFT's layout, as a tar archive"),
        RowScores = new("getRowScores", "GET", Client + "/row-scores", Policy.ReadSite, "What a client's last scoring said of each row"),
        Steps = new("getSteps", "GET", Client + "/steps", Policy.ReadSite, "Step-level points of a client, one JSON object a line"),
        Generate = new("generate", "POST", Client + "/generate", Policy.ReadSite, "Goes on from a prompt with a client's committed state"),
        Sites = new("listSites", "GET", "/v1/sites", Policy.View, "Sites that have a silo, or that a run waits for"),
        Silos = new("listSilos", "GET", "/v1/silos", Policy.View, "Silos that are alive, and how each is"),
        SiloLogs = new("getLogs", "GET", "/v1/logs", Policy.View, "What the silos say in their logs"),
        Audit = new("listAudit", "GET", "/v1/audit", Policy.Operate, "Where the record of what was done through each silo ends"),
        AuditLines = new("getAudit", "GET", "/v1/audit/{silo}", Policy.Operate,
            "What was done through a silo, after a line: stored lines, one JSON object each");

    /// <summary>
    /// Orleans' own dashboard, which shows the state of grains; where it was switched on, with whatever lies below.
    /// </summary>
    public static readonly ControlRoute OrleansDashboard =
        new("orleansDashboard", "GET", "/orleans", Policy.Operate, "Orleans' own dashboard, where it was switched on");

    /// <summary>All of those that are always there.</summary>
    public static IReadOnlyList<ControlRoute> All { get; } =
    [
        Live, Ready, Enter, Admit, Home, RunPage, Assets, Metrics, OpenApi, ListRuns, Submit, ShowRun, Events, ManyEvents, Rounds, Plan,
        Report, RunMetrics, Result, Grid, Tasks, ClientRounds, Stragglers, LocalOnly, Compare, Logs, Verify, Pause, Resume, Cancel, Extend,
        Fork, Evaluate, Adapter, RowScores, Steps, Generate, Sites, Silos, SiloLogs, Audit,
        AuditLines,
    ];
}
