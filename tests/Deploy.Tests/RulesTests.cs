namespace FedRLora.Deploy.Tests;

/// <summary>Each rule goes red where a document breaks it; nothing but the committed base is needed.</summary>
public sealed class RulesTests
{
    private static readonly string Base = Tree.Read("deploy", "k8s", "base-site", "fedrlora.yaml");

    /// <summary>A rule, what stands in the base, and what breaks the rule in its place.</summary>
    public static TheoryData<string, string, string> Broken => new()
    {
        { "the image has a version", "image: \"fedrlora:0.1.0\"", "image: \"fedrlora:latest\"" },
        { "the image has a version", "image: \"fedrlora:0.1.0\"", "image: \"registry.example:5000/fedrlora\"" },
        { "nobody is root", "runAsNonRoot: true", "runAsNonRoot: false" },
        { "nobody is root", "runAsUser: 1654", "runAsUser: 0" },
        { "nobody is root", "fsGroup: 1654", "fsGroup: 0" },
        { "nobody is root", "readOnlyRootFilesystem: true", "readOnlyRootFilesystem: true\n            runAsUser: 0" },
        { "the root file system is read-only", "readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false" },
        { "there are no privileges", "allowPrivilegeEscalation: false", "allowPrivilegeEscalation: true" },
        { "there are no privileges", "drop: [ALL]", "drop: [NET_RAW]" },
        { "there are no privileges", "drop: [ALL]", "drop: [ALL]\n              add: [SYS_ADMIN]" },
        { "there are no privileges", "type: RuntimeDefault", "type: Unconfined" },
        { "there are no privileges", "enableServiceLinks: false", "hostNetwork: true" },
        { "there are no privileges", "emptyDir:\n            sizeLimit: 1Gi", "hostPath:\n            path: /tmp" },
        { "resources are set, without a limit of the processor", "cpu: \"1\"", "nvidia.com/gpu: \"1\"" },
        { "resources are set, without a limit of the processor", "limits:\n              memory: 2Gi",
            "limits:\n              cpu: \"2\"" },
        { "resources are set, without a limit of the processor", "sizeLimit: 1Gi", "medium: Memory" },
        { "no token of the API server is mounted", "      automountServiceAccountToken: false",
            "      automountServiceAccountToken: true" },
        { "no token of the API server is mounted", "\nautomountServiceAccountToken: false", "\nautomountServiceAccountToken: true" },
        { "no token of the API server is mounted", "kind: PodDisruptionBudget", "kind: ClusterRoleBinding" },
        { "no secret is made or shown", "kind: PodDisruptionBudget", "kind: Secret" },
        { "no secret is made or shown", "kind: PodDisruptionBudget", "kind: ConfigMap\ndata: {tls.key: text}" },
        { "no secret is made or shown", "kind: PodDisruptionBudget", "kind: ConfigMap\ndata: {text: \"-----BEGIN PRIVATE KEY-----\"}" },
        { "no secret is made or shown", "- name: HOME", "- name: MY_TOKEN\n              value: text\n            - name: HOME" },
        { "no secret is made or shown", "rediss://redis.example:6380", "rediss://user:word@redis.example:6380" },
        { "no secret is made or shown", "net/runs", "net/runs?sv=1&sig=x" },
        { "no secret is made or shown", "--may-send=job", "--x=AccountKey=x" },
        { "secrets are folders that nobody writes", "mountPath: /etc/fedrlora/tls",
            "mountPath: /etc/fedrlora/tls\n              subPath: tls.crt" },
        { "secrets are folders that nobody writes", "tls\n              readOnly: true", "tls\n              readOnly: false" },
        { "secrets are folders that nobody writes", "defaultMode: 288", "defaultMode: 292" },
        { "secrets are folders that nobody writes", "defaultMode: 288", "optional: false" },
        { "rows and models are read-only", "data\n              readOnly: true", "data" },
        { "rows and models are read-only", "models\n              readOnly: true", "models" },
        { "rows and models are read-only", "claimName: fedrlora-data\n            readOnly: true", "claimName: fedrlora-data" },
        { "a volume and its mount go together", "- name: tmp\n          emptyDir", "- name: temp\n          emptyDir" },
        { "a volume and its mount go together", "mountPath: /home/app", "mountPath: /tmp" },
        { "probes ask what is open to anyone, by TLS", "startupProbe:", "lifecycle:" },
        { "probes ask what is open to anyone, by TLS", "livenessProbe:\n            httpGet:\n              path: /health/live",
            "livenessProbe:\n            httpGet:\n              path: /health/ready" },
        { "probes ask what is open to anyone, by TLS", "scheme: HTTPS", "scheme: HTTP" },
        { "probes ask what is open to anyone, by TLS", "failureThreshold: 60", "failureThreshold: 2" },
        { "the network is closed but for what is named", "kind: NetworkPolicy", "kind: Nothing" },
        { "the network is closed but for what is named", "policyTypes: [Ingress, Egress]", "policyTypes: [Ingress]" },
        { "the network is closed but for what is named", "podSelector:\n    matchLabels:\n      app.kubernetes.io/name: fedrlora",
            "podSelector:\n    matchLabels:\n      app.kubernetes.io/name: else" },
        { "the network is closed but for what is named", "cidr: \"192.0.2.0/24\"", "cidr: \"0.0.0.0/0\"" },
        { "the network is closed but for what is named",
            "- podSelector:\n            matchLabels:\n              app.kubernetes.io/name: fedrlora",
            "- podSelector: {}" },
        { "the network is closed but for what is named", "to:\n        - ipBlock:\n            cidr: \"203.0.113.0/24\"", "to: []" },
        { "the network is closed but for what is named", "ports:\n        - port: 443\n          protocol: TCP", "ports: []" },
        { "the network is closed but for what is named", "port: 11111\n          protocol", "port: 11112\n          protocol" },
        { "the network is closed but for what is named", "port: 11111\n          protocol: TCP",
            "port: 11111\n          protocol: TCP\n        - port: 30000\n          protocol: TCP" },
        { "one silo may be away", "maxUnavailable: 1", "minAvailable: 1" },
        { "one silo may be away", "kind: PodDisruptionBudget", "kind: Nothing" },
        { "silos are spread", "topologySpreadConstraints:", "somethingElse:" },
        { "services find the silos", "clusterIP: None", "type: ClusterIP" },
        { "services find the silos", "serviceName: fedrlora-silos", "serviceName: fedrlora" },
        { "services find the silos", "port: 443\n      targetPort: control", "port: 443\n      targetPort: https" },
        { "services find the silos", "type: ClusterIP\n  selector:\n    app.kubernetes.io/name: fedrlora",
            "type: ClusterIP\n  selector:\n    app.kubernetes.io/name: else" },
        { "silos come and go at once and in time", "podManagementPolicy: Parallel", "podManagementPolicy: OrderedReady" },
        { "silos come and go at once and in time", "terminationGracePeriodSeconds: 60", "terminationGracePeriodSeconds: 10" },
        { "a GPU is seen by who has one", "value: void", "value: all" },
        { "a GPU is seen by who has one", "limits:", "limits:\n              nvidia.com/mig-1g.10gb: 1" },
        { "arguments name variables that are there", "- name: CLUSTER_ID", "- name: CLUSTER" },
        { "arguments name variables that are there", "- name: HOME", "- name: SITE" },
        { "arguments name variables that are there", "fieldPath: status.podIP", "fieldPath: status.podIP\n            - name: POD_IP" },
        { "an identity has its label and its account", "fedrlora/site: site", "azure.workload.identity/use: \"true\"" },
    };

    public static TheoryData<string> Names => [.. Rules.All.Select(static rule => rule.Name)];

    [Theory]
    [MemberData(nameof(Broken))]
    public void A_document_that_breaks_a_rule_is_found(string rule, string healthy, string broken)
    {
        Assert.Contains(healthy, Base, StringComparison.Ordinal);

        var faults = Rules.All.Single(one => one.Name == rule).Faults(new(Manifests.Trees(Base.Replace(healthy, broken,
            StringComparison.Ordinal))));

        Assert.NotEmpty(faults);
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void Every_rule_is_broken_by_some_document(string rule) =>
        Assert.Contains(Broken, row => (string)row[0] == rule);

    [Theory]
    [InlineData("base-hub")]
    [InlineData("base-site")]
    public void The_bases_keep_every_rule(string name) =>
        Assert.Empty(Rules.Faults(Manifests.Trees(Tree.Read("deploy", "k8s", name, "fedrlora.yaml"))));

    [Theory]
    [InlineData("replicas: 2", "replcas: 2", "replcas")]
    [InlineData("replicas: 2", "replicas: two", "two")]
    [InlineData("failureThreshold: 60", "failureTreshold: 60", "failureTreshold")]
    [InlineData("maxUnavailable: 1", "maxUnavailabel: 1", "maxUnavailabel")]
    public void A_key_or_a_value_that_a_kind_does_not_have_is_found(string healthy, string broken, string named)
    {
        var error = Assert.ThrowsAny<Exception>(() => Manifests.Typed(Base.Replace(healthy, broken, StringComparison.Ordinal)));

        Assert.Contains(named, $"{error}", StringComparison.Ordinal);
    }
}
