using System.Text.Json.Nodes;
using System.Text.RegularExpressions;

namespace FedRLora.Deploy.Tests;

/// <summary>Something that has to hold for every set of documents; what it returns is what is wrong.</summary>
internal sealed record Rule(string Name, Func<Release, IEnumerable<string>> Faults);

/// <summary>The documents of one release, as the rules ask of them.</summary>
internal sealed class Release(IReadOnlyList<JsonObject> documents)
{
    public IReadOnlyList<JsonObject> Documents => documents;

    public JsonObject Set => Of("StatefulSet").Single();

    public JsonObject Pod => Set["spec"]!["template"]!["spec"]!.AsObject();

    public JsonObject PodLabels => Set["spec"]!["template"]!["metadata"]!["labels"]!.AsObject();

    public JsonObject Container => Pod["containers"]!.AsArray().Single()!.AsObject();

    public IEnumerable<JsonObject> Env => List(Container, "env");

    public IEnumerable<JsonObject> Mounts => List(Container, "volumeMounts");

    public IEnumerable<JsonObject> Volumes => List(Pod, "volumes");

    public IEnumerable<string> Args => Container["args"]!.AsArray().Select(static arg => (string)arg!);

    public IEnumerable<JsonObject> Of(string kind) => documents.Where(document => (string?)document["kind"] == kind);

    /// <summary>A list of objects below a key; none where the key is not there.</summary>
    public static IEnumerable<JsonObject> List(JsonNode? node, string key) =>
        node?[key] is JsonArray list ? list.Select(static item => item!.AsObject()) : [];

    /// <summary>Whether labels have all that a selector asks for; an empty selector is none.</summary>
    public bool Selects(JsonNode? selector) => selector is JsonObject { Count: > 0 } wanted
        && wanted.All(pair => (string?)PodLabels[pair.Key] == (string?)pair.Value);

    public static string NameOf(JsonNode? node) => (string?)node?["metadata"]?["name"] ?? "";
}

/// <summary>What a release of the chart has to be, beside what Kubernetes' types say.</summary>
internal static partial class Rules
{
    private const string SiloPort = "11111", GatewayPort = "30000";

    public static IReadOnlyList<Rule> All { get; } =
    [
        new("the image has a version", static release =>
            Unless(Version().IsMatch((string)release.Container["image"]!) && !((string)release.Container["image"]!).EndsWith(":latest",
                StringComparison.Ordinal), $"image {release.Container["image"]}")),
        new("nobody is root", static release =>
        [
            .. Unless((bool?)release.Pod["securityContext"]?["runAsNonRoot"] == true, "runAsNonRoot is not true"),
            .. new[] { "runAsUser", "runAsGroup", "fsGroup" }
                .Where(key => (long?)release.Pod["securityContext"]?[key] is null or 0).Select(static key => $"{key} is 0 or missing"),
            .. Unless(release.Container["securityContext"]?["runAsUser"] is null, "the container names another user"),
        ]),
        new("the root file system is read-only", static release =>
            Unless((bool?)release.Container["securityContext"]?["readOnlyRootFilesystem"] == true, "readOnlyRootFilesystem is not true")),
        new("there are no privileges", static release =>
        [
            .. Unless((bool?)release.Container["securityContext"]?["allowPrivilegeEscalation"] == false, "allowPrivilegeEscalation"),
            .. Unless(release.Container["securityContext"]?["capabilities"]?["drop"]?.ToJsonString() == "[\"ALL\"]",
                "capabilities are kept"),
            .. Unless(release.Container["securityContext"]?["capabilities"]?["add"] is null, "capabilities are added"),
            .. Unless(release.Container["securityContext"]?["privileged"] is null, "privileged"),
            .. Unless((string?)release.Pod["securityContext"]?["seccompProfile"]?["type"] == "RuntimeDefault", "no seccomp profile"),
            .. new[] { "hostNetwork", "hostPID", "hostIPC" }.Where(release.Pod.ContainsKey),
            .. release.Volumes.Where(static volume => volume.ContainsKey("hostPath"))
                .Select(static volume => $"host path {volume["name"]}"),
        ]),
        new("resources are set, without a limit of the processor", static release =>
        [
            .. new[] { "cpu", "memory" }.Where(key => release.Container["resources"]?["requests"]?[key] is null)
                .Select(static key => $"no request of {key}"),
            .. Unless(release.Container["resources"]?["limits"]?["memory"] is not null, "no limit of memory"),
            .. Unless(release.Container["resources"]?["limits"]?["cpu"] is null, "a limit of the processor"),
            .. release.Volumes.Where(static volume => volume["emptyDir"] is { } empty && empty["sizeLimit"] is null)
                .Select(static volume => $"no limit of the size of {volume["name"]}"),
        ]),
        new("no token of the API server is mounted", static release =>
        [
            .. Unless((bool?)release.Pod["automountServiceAccountToken"] == false, "the pod mounts one"),
            .. release.Of("ServiceAccount").Where(static account => (bool?)account["automountServiceAccountToken"] != false)
                .Select(static account => $"account {Release.NameOf(account)} lets pods mount one"),
            .. release.Documents.Where(static document => ((string)document["kind"]!).Contains("Role", StringComparison.Ordinal))
                .Select(static document => $"{document["kind"]} {Release.NameOf(document)}"),
        ]),
        new("no secret is made or shown", static release =>
        [
            .. release.Of("Secret").Select(static secret => $"secret {Release.NameOf(secret)}"),
            .. release.Env.Where(static variable => (string?)variable["value"] is { } value && !value.StartsWith('/')
                    && SecretName().IsMatch((string)variable["name"]!))
                .Select(static variable => $"variable {variable["name"]} has its value in the open"),
            .. release.Env.Select(static variable => (string?)variable["value"]).OfType<string>().Concat(release.Args)
                .Where(static text => SecretText().IsMatch(text)).Select(static _ => "a variable or an argument looks like a secret"),
            .. release.Of("ConfigMap").Where(static map => map["data"] is JsonObject data
                    && data.Any(static pair => SecretName().IsMatch(pair.Key) || SecretText().IsMatch((string)pair.Value!)))
                .Select(static map => $"ConfigMap {Release.NameOf(map)} looks like a secret"),
        ]),
        new("secrets are folders that nobody writes", static release =>
        [
            .. release.Mounts.Where(static mount => mount.ContainsKey("subPath") || mount.ContainsKey("subPathExpr"))
                .Select(static mount => $"{mount["name"]} is mounted by a sub-path, which is never renewed"),
            .. from volume in release.Volumes
            where volume.ContainsKey("secret") || volume.ContainsKey("configMap")
            from mount in release.Mounts
            where (string?)mount["name"] == (string?)volume["name"] && (bool?)mount["readOnly"] != true
            select $"{mount["name"]} is mounted to be written",
            .. release.Volumes.Where(static volume => volume["secret"] is { } secret && ((int?)secret["defaultMode"] ?? 420) % 8 != 0)
                .Select(static volume => $"{volume["name"]} can be read by everyone"),
        ]),
        new("rows and models are read-only", static release =>
            from volume in release.Volumes
            where (string?)volume["name"] is "data" or "models"
            from mount in release.Mounts
            where (string?)mount["name"] == (string?)volume["name"]
            where (bool?)mount["readOnly"] != true || (bool?)volume["persistentVolumeClaim"]?["readOnly"] != true
            select $"{volume["name"]} can be written"),
        new("a volume and its mount go together", static release =>
        [
            .. release.Mounts.Select(static mount => (string)mount["name"]!)
                .Except(release.Volumes.Select(static volume => (string)volume["name"]!)).Select(static name => $"{name} is no volume"),
            .. release.Volumes.Select(static volume => (string)volume["name"]!)
                .Except(release.Mounts.Select(static mount => (string)mount["name"]!)).Select(static name => $"{name} is not mounted"),
            .. Twice(release.Mounts.Select(static mount => (string)mount["mountPath"]!)),
        ]),
        new("probes ask what is open to anyone, by TLS", static release =>
        [
            .. Probe(release, "startupProbe", "/health/ready"),
            .. Probe(release, "readinessProbe", "/health/ready"),
            .. Probe(release, "livenessProbe", "/health/live"),
            .. Unless(release.Container["startupProbe"] is { } startup
                && (int?)startup["failureThreshold"] * (int?)startup["periodSeconds"] >= 60, "a silo has less than a minute to join"),
        ]),
        new("the network is closed but for what is named", static release =>
        [
            .. Unless(release.Of("NetworkPolicy").Count() == 1, "no policy"),
            .. release.Of("NetworkPolicy").SelectMany(policy => PolicyFaults(release, policy["spec"]!)),
        ]),
        new("one silo may be away", static release =>
            Unless(release.Of("PodDisruptionBudget").Any(budget => (int?)budget["spec"]?["maxUnavailable"] == 1
                && release.Selects(budget["spec"]?["selector"]?["matchLabels"])), "no budget that selects the pods")),
        new("silos are spread", static release =>
            Unless(Release.List(release.Pod, "topologySpreadConstraints").Any(spread =>
                release.Selects(spread["labelSelector"]?["matchLabels"])), "no constraint that selects the pods")),
        new("services find the silos", static release =>
        [
            .. Unless(release.Selects(release.Set["spec"]!["selector"]!["matchLabels"]), "the StatefulSet does not select its pods"),
            .. release.Of("Service").Where(service => !release.Selects(service["spec"]!["selector"]))
                .Select(static service => $"{Release.NameOf(service)} selects no pods"),
            .. Unless(release.Of("Service").Any(service => Release.NameOf(service) == (string?)release.Set["spec"]!["serviceName"]
                && (string?)service["spec"]!["clusterIP"] == "None"), "the StatefulSet has no headless service"),
            .. Unless(release.Of("Service").Any(static service => Release.List(service["spec"], "ports")
                .Any(static port => (string?)port["targetPort"] == "control")), "no service leads to the control plane"),
            .. from service in release.Of("Service")
            from port in Release.List(service["spec"], "ports")
            where !Release.List(release.Container, "ports").Any(open => (string?)open["name"] == (string?)port["targetPort"])
            select $"{Release.NameOf(service)} leads to the port {port["targetPort"]}, which the container has not",
        ]),
        new("silos come and go at once and in time", static release =>
        [
            .. Unless((string?)release.Set["spec"]!["podManagementPolicy"] == "Parallel", "silos wait for each other"),
            .. Unless((int?)release.Pod["terminationGracePeriodSeconds"] > 10, "a silo has less time than it takes to end"),
        ]),
        new("a GPU is seen by who has one", static release =>
        {
            var limits = release.Container["resources"]?["limits"] as JsonObject ?? [];
            var has = limits.Any(static limit => limit.Key.Contains('/', StringComparison.Ordinal));
            var hidden = release.Env.Any(static variable =>
                (string?)variable["name"] == "NVIDIA_VISIBLE_DEVICES" && (string?)variable["value"] == "void");
            return Unless(has != hidden, has ? "a GPU is asked for and hidden" : "GPUs of the node are not hidden");
        }),
        new("arguments name variables that are there", static release =>
        [
            .. release.Args.SelectMany(static arg => Variable().Matches(arg)).Select(static match => match.Groups[1].Value)
                .Except(release.Env.Select(static variable => (string)variable["name"]!))
                .Select(static name => $"there is no variable {name}"),
            .. Twice(release.Env.Select(static variable => (string)variable["name"]!)),
            .. new[] { "POD_NAME", "POD_IP" }.Where(name => !release.Env.Any(variable => (string?)variable["name"] == name
                && variable["valueFrom"]?["fieldRef"] is not null)).Select(static name => $"{name} is not the pod's own"),
        ]),
        new("an identity has its label and its account", static release =>
            Unless(release.PodLabels.ContainsKey("azure.workload.identity/use") == release.Of("ServiceAccount").Any(static account =>
                account["metadata"]?["annotations"]?["azure.workload.identity/client-id"] is not null), "one of them is missing")),
    ];

    /// <summary>All faults of some documents.</summary>
    public static IReadOnlyList<string> Faults(IReadOnlyList<JsonObject> documents)
    {
        var release = new Release(documents);
        return [.. All.SelectMany(rule => rule.Faults(release).Select(fault => $"{rule.Name}: {fault}"))];
    }

    private static IEnumerable<string> Unless(bool holds, string fault) => holds ? [] : [fault];

    private static IEnumerable<string> Twice(IEnumerable<string> names) =>
        names.GroupBy(static name => name).Where(static same => same.Count() > 1).Select(static same => $"{same.Key} is there twice");

    private static IEnumerable<string> Probe(Release release, string name, string path) =>
        Unless(release.Container[name]?["httpGet"] is { } get && (string?)get["path"] == path && (string?)get["scheme"] == "HTTPS"
            && (string?)get["port"] == "control", $"{name} does not ask {path} by TLS");

    private static IEnumerable<string> PolicyFaults(Release release, JsonNode policy)
    {
        var ways = new[] { ("ingress", "from"), ("egress", "to") };
        return
        [
            .. Unless(release.Selects(policy["podSelector"]?["matchLabels"]), "the policy does not select the pods"),
            .. Unless(policy["policyTypes"]?.ToJsonString() == "[\"Ingress\",\"Egress\"]", "the policy leaves a direction open"),
            .. from way in ways
            from rule in Release.List(policy, way.Item1)
            where !Release.List(rule, way.Item2).Any() || Release.List(rule, way.Item2).Any(static peer => peer.Count == 0)
            select $"{way.Item1}: a rule is for everyone",
            .. from way in ways
            from rule in Release.List(policy, way.Item1)
            where !Release.List(rule, "ports").Any()
            select $"{way.Item1}: a rule is for all ports",
            // to the port between silos come only pods of this program and addresses that were named
            .. from rule in Release.List(policy, "ingress")
            where Opens(rule, SiloPort)
            from peer in Release.List(rule, "from")
            where (string?)peer["podSelector"]?["matchLabels"]?["app.kubernetes.io/name"] != "fedrlora"
                && (string?)peer["ipBlock"]?["cidr"] is null or "0.0.0.0/0" or "::/0"
            select "ingress: others than silos reach the port between silos",
            .. Unless(ways.All(way => Release.List(policy, way.Item1).Any(rule => Opens(rule, SiloPort))), "silos do not reach each other"),
            .. from way in ways
            from rule in Release.List(policy, way.Item1)
            where Opens(rule, GatewayPort)
            select $"{way.Item1}: the gateway is open, of which no command is a client",
        ];
    }

    private static bool Opens(JsonObject rule, string port) =>
        Release.List(rule, "ports").Any(open => open["port"]?.ToString() == port);

    [GeneratedRegex(@"^[^:@]+(/[^:@]+|:[0-9]+/[^:@]+)*(:[A-Za-z0-9_][A-Za-z0-9._-]*|@sha256:[0-9a-f]{64})$")]
    private static partial Regex Version();

    [GeneratedRegex("PASSWORD|SECRET|TOKEN|CONNECTION_STRING|_SAS$|_KEY$|_HEADERS$|tls[.]key", RegexOptions.IgnoreCase)]
    private static partial Regex SecretName();

    [GeneratedRegex("AccountKey=|[?&]sig=|PRIVATE KEY|://[^/@ ]*:[^/@ ]+@|password=", RegexOptions.IgnoreCase)]
    private static partial Regex SecretText();

    [GeneratedRegex(@"\$\(([A-Z_]+)\)")]
    private static partial Regex Variable();
}
