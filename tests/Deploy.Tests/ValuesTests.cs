using System.Text.Json.Nodes;

namespace FedRLora.Deploy.Tests;

/// <summary>Values that are misspelt, missing or do not go together are refused by name.</summary>
public sealed class ValuesTests
{
    [Fact]
    public void Every_object_of_the_schema_is_closed_but_maps_of_the_readers_own()
    {
        Assert.All(ValuesSchema.Objects, static one => Assert.False((bool?)one.Schema["additionalProperties"] ?? true, one.Path));
        Assert.True(ValuesSchema.Objects.Count > 35, "objects are not found in the schema");
        Assert.Equal(
            [
                "affinity", "control.service.annotations", "env", "global", "gpu.nodeSelector", "monitoring.dashboards.annotations",
                "monitoring.dashboards.labels", "monitoring.podMonitor.labels", "monitoring.prometheusRule.labels", "nodeSelector",
                "podAnnotations", "podLabels", "serviceAccount.annotations",
            ],
            ValuesSchema.Free.Order(StringComparer.Ordinal));
    }

    [HelmFact]
    public async Task A_misspelt_key_is_refused_by_name_at_every_depth()
    {
        var values = new JsonObject();
        foreach (var (path, schema) in ValuesSchema.Objects) Put(values, path, Misspelt(schema));

        var said = await WithAsync(values);

        Assert.NotEqual(0, said.Code);
        foreach (var (path, schema) in ValuesSchema.Objects)
        {
            var at = path.Length == 0 ? "" : "/" + path.Replace("[]", ".0", StringComparison.Ordinal).Replace('.', '/');
            Assert.Contains($"at '{at}': additional properties '{Misspelt(schema)}' not allowed", said.Error, StringComparison.Ordinal);
        }
    }

    [HelmFact]
    public async Task A_misspelt_key_alone_is_one_line()
    {
        var said = await Chart.TemplateAsync([.. Chart.Files("site"), "--set", "gpu.limt=1"]);

        Assert.NotEqual(0, said.Code);
        Assert.EndsWith("- at '/gpu': additional properties 'limt' not allowed", said.Error.Trim(), StringComparison.Ordinal);
    }

    [HelmFact]
    public async Task What_is_global_and_what_is_the_readers_own_is_free()
    {
        var values = new JsonObject { ["global"] = new JsonObject { ["any"] = new JsonObject { ["thing"] = 1 } } };
        foreach (var path in ValuesSchema.Free.Where(static path => path is not ("global" or "affinity" or "env")))
            Put(values, path, "example.com/any", "thing");

        Assert.Equal(0, (await WithAsync(values)).Code);
    }

    [HelmTheory]
    [InlineData("site", "role=", "at '/role': value must be one of 'hub', 'site'")]
    [InlineData("site", "site=", "site: name the site")]
    [InlineData("site", "site=North", "at '/site'")]
    [InlineData("site", "replicas=-1", "at '/replicas'")]
    [InlineData("site", "image.repository=", "image.repository: name the image")]
    [InlineData("site", "image.tag=", "image.tag: name a version, or image.digest")]
    [InlineData("site", "image.tag=latest", "latest says not which version runs")]
    [InlineData("workload-identity", "image.tag=v1", "image.tag and image.digest exclude each other")]
    [InlineData("site", "membership.url=", "membership.url: name where silos find one another")]
    [InlineData("site", "membership.url=rediss://me:hunter2@host:6380", "membership.url: is none of redis://")]
    [InlineData("site", "store.url=", "store.url: name the job's container")]
    [InlineData("site", "store.url=https://a.example/c?sig=hunter2", "store.url: is no https:// URL without a query")]
    [InlineData("site", "silo.mlflow=http://me:hunter2@host", "silo.mlflow: is no http:// or https:// URL")]
    [InlineData("site", "membership.credential=identity", "membership.credential: say what membership.existingSecret holds")]
    [InlineData("site", "membership.credential=sas", "membership.credential: Redis takes password")]
    [InlineData("workload-identity", "membership.credential=password", "membership.credential: tables take identity")]
    [InlineData("workload-identity", "membership.tls.existingSecret=s", "is for rediss:// alone")]
    [InlineData("site", "membership.tls.clientCertificate=true", "membership.tls.existingSecret: name the secret")]
    [InlineData("site", "store.existingClaim=c", "store.url and store.existingClaim exclude each other")]
    [InlineData("site", "siteStore.url=", "siteStore.url: name the site's own container")]
    [InlineData("site", "siteStore.existingSecret=", "siteStore.existingSecret: name the secret that has the connectionString")]
    [InlineData("site", "store.credential=identity", "store.credential: say what store.existingSecret holds")]
    [InlineData("site", "data.existingClaim=", "data.existingClaim: name the claim with the site's rows")]
    [InlineData("hub", "data.existingClaim=c", "a hub holds no rows")]
    [InlineData("hub", "models.existingClaim=", "models.existingClaim: name the claim with base models")]
    [InlineData("site", "models.existingClaim=", "models.existingClaim: name the claim with base models")]
    [InlineData("hub", "gpu.count=1", "a hub trains nothing")]
    [InlineData("site", "silo.device=cuda:0", "a pod that asks for no GPU sees none")]
    [InlineData("site mig", "gpu.count=2", "a process sees one part of a GPU")]
    [InlineData("hub", "tls.existingSecret=", "tls.existingSecret: name the secret")]
    [InlineData("hub", "certManager.enabled=true", "certManager.issuer.name: name the issuer")]
    [InlineData("hub", "tls.bundle.revoked=true", "revoked.txt is looked for in tls.bundle.existingConfigMap")]
    [InlineData("hub", "control.oidc.authority=https://login.example", "authority and audience belong together")]
    [InlineData("hub", "workloadIdentity.enabled=true", "workloadIdentity.clientId: name the identity")]
    [InlineData("workload-identity", "serviceAccount.create=false", "serviceAccount.name: the default account")]
    [InlineData("hub", "env.MLFLOW_TRACKING_TOKEN=hunter2", "env.MLFLOW_TRACKING_TOKEN: may be a secret")]
    [InlineData("hub", "env.HOME=/x", "env.HOME: the chart sets it")]
    [InlineData("hub", "podLabels.fedrlora/site=x", "podLabels.fedrlora/site: the chart sets it")]
    [InlineData("hub", "networkPolicy.membership.cidrs=null", "networkPolicy.membership: name the addresses")]
    [InlineData("hub", "networkPolicy.store.cidrs=null", "networkPolicy.store: name the addresses")]
    [InlineData("hub", "networkPolicy.extraEgress[0].ports[0]=443", "networkPolicy.extraEgress[0]: names no addresses")]
    [InlineData("hub", "resources.limits.cpu=2", "at '/resources/limits': additional properties 'cpu' not allowed")]
    [InlineData("hub", "monitoring.podMonitor.enabled=true", "monitoring.podMonitor.tokenSecret: name the secret")]
    [InlineData("hub existing-secrets", "monitoring.podMonitor.enabled=true", "monitoring.podMonitor.serverName: name one")]
    public async Task A_value_that_is_missing_or_does_not_fit_is_refused_by_name(string name, string set, string line)
    {
        var said = await Chart.TemplateAsync([.. Chart.Files(name), "--set", set]);

        Assert.NotEqual(0, said.Code);
        Assert.Contains(line, said.Error, StringComparison.Ordinal);
        Assert.DoesNotContain("hunter2", said.Error, StringComparison.Ordinal);
    }

    [HelmFact]
    public async Task All_that_is_missing_is_told_at_once()
    {
        var said = await Chart.TemplateAsync("--set", "role=site");

        string[] missing =
        [
            "site:", "image.repository:", "membership.url:", "store.url:", "siteStore.url:", "data.existingClaim:", "models.existingClaim:",
        ];
        foreach (var value in missing)
            Assert.Contains($"\n  {value}", said.Error, StringComparison.Ordinal);
    }

    [HelmFact]
    public async Task A_site_that_is_drained_keeps_all_but_its_silos()
    {
        var rendered = await Chart.RenderAsync([.. Chart.Files("site"), "--set", "replicas=0"]);

        Assert.Equal((await Chart.RenderedAsync("site")).Replace("replicas: 2", "replicas: 0", StringComparison.Ordinal), rendered);
    }

    [Fact]
    public void The_page_has_every_value_with_its_default()
    {
        var defaults = Manifests.Trees(Tree.Read("deploy", "k8s", "fedrlora", "values.yaml")).Single();

        Assert.Equal(
            ValuesSchema.Values.Order(StringComparer.Ordinal).Select(path => $"{path} = {At(defaults, path)}"),
            Page.Values().OrderBy(static row => row.Value, StringComparer.Ordinal).Select(static row => $"{row.Value} = {row.Default}"));

        static string At(JsonNode values, string path) =>
            path.Split('.').Aggregate((JsonNode?)values, static (node, key) => node?[key]) is { } value
                ? value.ToJsonString().Trim('"') is { Length: > 0 } text ? text : "\"\""
                : "not set";
    }

    private static async Task<Said> WithAsync(JsonObject values)
    {
        var file = Path.GetTempFileName();
        try
        {
            await File.WriteAllTextAsync(file, values.ToJsonString());
            return await Chart.TemplateAsync([.. Chart.Files("site"), $"--values={file}"]);
        }
        finally
        {
            File.Delete(file);
        }
    }

    private static string Misspelt(JsonObject schema)
    {
        var first = schema["properties"]!.AsObject().First().Key;
        return first + first[^1];
    }

    // Beside a misspelt key the keys that are needed, so that nothing else is wrong.
    private static void Put(JsonObject values, string path, string key, string value = "x")
    {
        JsonNode at = values;
        foreach (var part in path.Split('.', StringSplitOptions.RemoveEmptyEntries))
        {
            var (name, isList) = (part.Replace("[]", "", StringComparison.Ordinal), part.EndsWith("[]", StringComparison.Ordinal));
            at[name] ??= isList ? new JsonArray(new JsonObject()) : new JsonObject();
            at = isList ? at[name]![0]! : at[name]!;
        }

        at[key] = value;
    }
}
