using System.Text.Json;
using System.Text.Json.Nodes;

namespace FedRLora.Deploy.Tests;

/// <summary>What the chart makes of values: linted, read strictly, held to the models of npm and to our own rules.</summary>
public sealed class ChartTests
{
    public static TheoryData<string> Cases => [.. Chart.Cases];

    [HelmTheory]
    [MemberData(nameof(Cases))]
    public async Task The_chart_is_linted_with_nothing_to_say(string name)
    {
        var said = await Shell.HelmAsync(["lint", Chart.Folder, "--strict", "--quiet", .. Chart.Files(name)]);

        Assert.Equal((0, ""), (said.Code, said.Output.Trim()));
    }

    [HelmTheory]
    [MemberData(nameof(Cases))]
    public async Task Every_document_is_of_its_kind_and_keeps_every_rule(string name)
    {
        var text = await Chart.RenderedAsync(name);

        Assert.Equal(Manifests.Trees(text).Count, Manifests.Typed(text).Count);
        Assert.Empty(Rules.Faults(Manifests.Trees(text)));
    }

    [HelmFact]
    public async Task Every_document_is_one_of_the_models_of_npm()
    {
        var documents = new List<(string From, JsonObject Document)>();
        foreach (var name in Chart.Cases) documents.AddRange(Manifests.Trees(await Chart.RenderedAsync(name)).Select(tree => (name, tree)));

        Assert.Empty(await ProblemsAsync(documents));
        Assert.Equal(
            [
                "Certificate", "ConfigMap", "NetworkPolicy", "PodDisruptionBudget", "PodMonitor", "PrometheusRule", "Service",
                "ServiceAccount", "StatefulSet",
            ],
            documents.Select(static one => (string)one.Document["kind"]!).Distinct().Order(StringComparer.Ordinal));
    }

    [HelmFact]
    public async Task A_document_that_is_none_of_the_models_is_found()
    {
        var documents = Manifests.Trees(await Chart.RenderedAsync(Chart.Everything));
        JsonNode Of(string kind) => documents.First(document => (string?)document["kind"] == kind)["spec"]!;
        Of("StatefulSet").AsObject().Remove("serviceName");
        Of("StatefulSet").AsObject().Remove("selector");
        Of("Certificate")["usages"]![0] = "digital signatures";
        Of("PodMonitor")["podMetricsEndpoints"]![0]!["interval"] = "quarterly";
        Of("PrometheusRule")["groups"]![0]!.AsObject().Remove("name");
        documents.Add(new() { ["apiVersion"] = "v1", ["kind"] = "Sirvice" });

        var problems = await ProblemsAsync(documents.Select(static document => ("broken", document)));

        foreach (var kind in new[] { "StatefulSet", "Certificate", "PodMonitor", "PrometheusRule", "Sirvice" })
            Assert.Contains(problems, problem => problem.Contains(kind, StringComparison.Ordinal));
        Assert.Equal(5, problems.Count);
    }

    [HelmFact]
    public async Task Two_renderings_are_equal_to_the_byte() =>
        Assert.Equal(await Chart.RenderedAsync(Chart.Everything), await Chart.RenderAsync(Chart.Files(Chart.Everything)));

    [HelmFact]
    public async Task A_whole_GPU_and_a_part_of_one_are_asked_for_by_name()
    {
        var gpu = new Release(Manifests.Trees(await Chart.RenderedAsync("site gpu")));
        var mig = new Release(Manifests.Trees(await Chart.RenderedAsync("site mig")));

        Assert.Equal(2, (int)gpu.Container["resources"]!["limits"]!["nvidia.com/gpu"]!);
        Assert.Equal("nvidia", (string?)gpu.Pod["runtimeClassName"]);
        Assert.Equal("NVIDIA-A100-SXM4-40GB", (string?)gpu.Pod["nodeSelector"]!["nvidia.com/gpu.product"]);
        Assert.Equal("nvidia.com/gpu", (string?)gpu.Pod["tolerations"]![0]!["key"]);
        Assert.Equal(1, (int)mig.Container["resources"]!["limits"]!["nvidia.com/mig-1g.10gb"]!);
        Assert.Null(mig.Pod["runtimeClassName"]);
    }

    [HelmTheory]
    [InlineData("site", "", null)]
    [InlineData("site gpu", "", "--device=cuda:0,cuda:1")]
    [InlineData("site mig", "", "--device=cuda:0")]
    [InlineData("site gpu", "cuda:1", "--device=cuda:1")]
    [InlineData("site", "cpu:0\\,cpu:1", "--device=cpu:0,cpu:1")]
    public async Task A_silo_trains_on_the_GPUs_that_it_asks_for_or_on_what_it_is_told(string files, string device, string? expected)
    {
        var rendered = device.Length == 0 ? await Chart.RenderedAsync(files)
            : await Chart.RenderAsync([.. Chart.Files(files), "--set", $"silo.device={device}"]);

        Assert.Equal(expected, new Release(Manifests.Trees(rendered)).Container["args"]!.AsArray().Select(static one => (string)one!)
            .SingleOrDefault(static one => one.StartsWith("--device", StringComparison.Ordinal)));
    }

    [HelmFact]
    public async Task What_is_off_by_default_is_off()
    {
        var kinds = Manifests.Trees(await Chart.RenderedAsync("site")).Select(static document => (string)document["kind"]!).Distinct();

        Assert.Equal(
            ["NetworkPolicy", "PodDisruptionBudget", "Service", "ServiceAccount", "StatefulSet"], kinds.Order(StringComparer.Ordinal));
    }

    [HelmFact]
    public async Task A_control_plane_that_is_reached_from_outside_sees_the_addresses_of_its_callers()
    {
        var outside = new Release(Manifests.Trees(await Chart.RenderedAsync(Chart.Everything)));
        var inside = new Release(Manifests.Trees(await Chart.RenderedAsync("site")));

        Assert.Equal("Local", PolicyOf(outside));
        Assert.Null(PolicyOf(inside));

        static string? PolicyOf(Release release) => (string?)release.Of("Service")
            .Single(static service => Release.NameOf(service) == "fedrlora-api")["spec"]!["externalTrafficPolicy"];
    }

    [HelmFact]
    public async Task Prometheus_judges_the_certificate_that_the_control_plane_shows()
    {
        var silos = await TlsAsync("hub", "");
        var bundle = await TlsAsync("hub", ",tls.bundle.existingConfigMap=bundle");
        var other = await TlsAsync("hub existing-secrets", ",monitoring.podMonitor.serverName=fedrlora.hub.example");

        Assert.Equal("hub.sites.fedrlora", (string?)silos["serverName"]);
        Assert.Equal("fedrlora-tls", (string?)silos["ca"]!["secret"]!["name"]);
        Assert.Equal("bundle", (string?)bundle["ca"]!["configMap"]!["name"]);
        Assert.Equal("fedrlora.hub.example", (string?)other["serverName"]);
        Assert.Null(other["ca"]); // the silos' bundle, which is there, is of another authority

        static async Task<JsonNode> TlsAsync(string name, string set)
        {
            var rendered = await Chart.RenderAsync(
                [.. Chart.Files(name), "--set", $"monitoring.podMonitor.enabled=true,monitoring.podMonitor.tokenSecret=viewer{set}"]);
            return new Release(Manifests.Trees(rendered)).Of("PodMonitor").Single()["spec"]!["podMetricsEndpoints"]![0]!["tlsConfig"]!;
        }
    }

    [HelmFact]
    public async Task An_identity_has_its_annotation_and_its_label_and_no_secret()
    {
        var release = new Release(Manifests.Trees(await Chart.RenderedAsync("workload-identity")));

        Assert.Equal("11111111-2222-3333-4444-555555555555",
            (string?)release.Of("ServiceAccount").Single()["metadata"]!["annotations"]!["azure.workload.identity/client-id"]);
        Assert.Equal("true", (string?)release.PodLabels["azure.workload.identity/use"]);
        Assert.DoesNotContain(release.Env, static variable => variable["valueFrom"]?["secretKeyRef"] is not null);
        Assert.EndsWith($"@sha256:{string.Concat(Enumerable.Repeat("0123456789abcdef", 4))}", (string)release.Container["image"]!,
            StringComparison.Ordinal);
    }

    [HelmFact]
    public async Task Secrets_that_are_there_already_arrive_by_name()
    {
        var release = new Release(Manifests.Trees(await Chart.RenderedAsync("hub existing-secrets")));

        Assert.Equal(["fedrlora-tls", "redis-tls", "fedrlora-api", "fedrlora-tokens"],
            release.Volumes.Select(static volume => (string?)volume["secret"]?["secretName"]).OfType<string>());
        Assert.Equal(["fedrlora-redis", "fedrlora-store", "mlflow"],
            release.Env.Select(static variable => (string?)variable["valueFrom"]?["secretKeyRef"]?["name"]).OfType<string>());
        foreach (var arg in new[]
        {
            "--tls-ca=/etc/fedrlora/bundle/ca.crt", "--tls-revoked=/etc/fedrlora/bundle/revoked.txt",
            "--control-name=fedrlora.hub.example", "--control-tls=/etc/fedrlora/control-tls",
            "--control-tokens=/etc/fedrlora/tokens/tokens",
        })
            Assert.Contains(arg, release.Args);
    }

    [HelmFact]
    public async Task The_tables_of_a_membership_have_credentials_of_their_own()
    {
        var release = new Release(Manifests.Trees(await Chart.RenderAsync(
            [.. Chart.Files("workload-identity"), "--set", "membership.credential=sas,membership.existingSecret=silos"])));

        Assert.Equal("silos", (string?)release.Env.Single(static variable => (string?)variable["name"] == "FEDRLORA_CLUSTER_SAS")
            ["valueFrom"]!["secretKeyRef"]!["name"]);
    }

    [HelmFact]
    public async Task Silos_listen_to_all_addresses_of_both_kinds_and_tell_the_pods_own()
    {
        var six = new Release(Manifests.Trees(await Chart.RenderedAsync("claims")));
        var four = new Release(Manifests.Trees(await Chart.RenderedAsync("site")));

        Assert.Equal(["--listen=::", "--advertise=$(POD_IP)", "--control=[::]:8470"], six.Args.Where(IsAddress));
        Assert.Equal(["--listen=0.0.0.0", "--advertise=$(POD_IP)", "--control=0.0.0.0:8470"], four.Args.Where(IsAddress));
        Assert.Contains("--name=$(SITE).$(POD_NAME)", four.Args);

        static bool IsAddress(string arg) => arg.Split('=')[0] is "--listen" or "--advertise" or "--control";
    }

    private static async Task<IReadOnlyList<string>> ProblemsAsync(IEnumerable<(string From, JsonObject Document)> documents)
    {
        var input = new JsonArray([.. documents.Select(static one =>
            new JsonObject { ["from"] = one.From, ["document"] = one.Document.DeepClone() })]);
        var said = await Shell.RunAsync("node", ["tests/helm/validate.mjs"], input.ToJsonString());
        return JsonSerializer.Deserialize<List<string>>(said.Ok)!;
    }
}
