using System.Text.Json.Nodes;
using System.Text.RegularExpressions;

namespace FedRLora.Deploy.Tests;

/// <summary>The kustomize bases are what the chart makes, and the chart has what deploy/telemetry has.</summary>
public sealed partial class BasesTests
{
    [HelmFact]
    public async Task The_committed_bases_are_those_that_make_chart_renders()
    {
        var folder = Directory.CreateTempSubdirectory("fedrlora-bases");
        try
        {
            _ = (await Shell.RunAsync("bash", ["eng/chart.sh", folder.FullName])).Ok;

            foreach (var name in new[] { "base-hub", "base-site" })
            {
                Assert.Equal(
                    await File.ReadAllTextAsync(Path.Combine(folder.FullName, name, "fedrlora.yaml")),
                    Tree.Read("deploy", "k8s", name, "fedrlora.yaml"));
            }
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }

    [HelmTheory]
    [InlineData("base-hub")]
    [InlineData("base-site")]
    public async Task Kustomize_builds_what_the_chart_renders(string name)
    {
        var built = (await Shell.KubectlAsync("kustomize", $"deploy/k8s/{name}")).Ok;
        var rendered = await Chart.RenderAsync($"--values=deploy/k8s/{name}/values.yaml");

        Assert.Equal(Manifests.Sorted(rendered), Manifests.Sorted(built));
    }

    [HelmFact]
    public async Task The_overlay_of_the_page_replaces_what_it_says()
    {
        var overlay = Page.Block("overlay/kustomization.yaml");
        var folder = Directory.CreateDirectory(Tree.At("artifacts", $"overlay-{Environment.ProcessId}"));
        try
        {
            await File.WriteAllTextAsync(Path.Combine(folder.FullName, "kustomization.yaml"),
                overlay.Replace("../base-site", "../../deploy/k8s/base-site", StringComparison.Ordinal));

            var built = (await Shell.KubectlAsync("kustomize", folder.FullName)).Ok;

            var release = new Release(Manifests.Trees(built));
            Assert.Empty(Rules.Faults(release.Documents));
            Assert.NotEmpty(Manifests.Typed(built));
            Assert.All(release.Documents, static document => Assert.Equal("fedrlora", (string?)document["metadata"]!["namespace"]));
            Assert.Equal("registry.example/fedrlora:0.1.0", (string?)release.Container["image"]);
            Assert.Equal("north", Value("SITE"));
            Assert.Equal("rediss://redis.hub.example:6380", Value("MEMBERSHIP"));
            foreach (var placeholder in new[] { "192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "account.blob" })
                Assert.DoesNotContain(placeholder, built, StringComparison.Ordinal);

            string Value(string variable) => (string)release.Env.Single(one => (string?)one["name"] == variable)["value"]!;
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }

    [Fact]
    public void The_chart_and_the_bases_have_the_version_of_the_program()
    {
        var version = Newest().Match(Tree.Read("CHANGELOG.md")).Groups[1].Value;
        var chart = Manifests.Trees(Tree.Read("deploy", "k8s", "fedrlora", "Chart.yaml")).Single();

        Assert.Equal((version, version), ((string?)chart["version"], (string?)chart["appVersion"]));
        foreach (var name in new[] { "base-hub", "base-site" })
            Assert.Contains($"image: \"fedrlora:{version}\"", Tree.Read("deploy", "k8s", name, "fedrlora.yaml"), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("prometheus", "alerts.yml")]
    [InlineData("prometheus", "recording.yml")]
    [InlineData("grafana", "fedrlora-run.json")]
    [InlineData("grafana", "fedrlora-silos.json")]
    public void The_chart_has_the_rules_and_dashboards_of_deploy_telemetry(string folder, string name) =>
        Assert.Equal(Tree.Read("deploy", "telemetry", folder, name), Tree.Read("deploy", "k8s", "fedrlora", "files", name));

    [Fact]
    public void Every_file_of_deploy_telemetry_that_the_chart_takes_is_there() =>
        Assert.Equal(
            Directory.GetFiles(Tree.At("deploy", "telemetry", "grafana")).Select(Path.GetFileName)
                .Concat(["alerts.yml", "recording.yml"]).Order(StringComparer.Ordinal),
            Directory.GetFiles(Tree.At("deploy", "k8s", "fedrlora", "files")).Select(Path.GetFileName).Order(StringComparer.Ordinal));

    [HelmFact]
    public async Task The_rendered_rules_and_dashboards_are_those_of_deploy_telemetry()
    {
        var documents = Manifests.Trees(await Chart.RenderedAsync(Chart.Everything));

        var groups = documents.Single(static document => (string?)document["kind"] == "PrometheusRule")["spec"]!["groups"]!.AsArray();
        Assert.Equal(2, groups.Count);
        foreach (var (name, group) in new[] { "recording.yml", "alerts.yml" }.Zip(groups))
        {
            var rules = Manifests.Trees(Tree.Read("deploy", "telemetry", "prometheus", name)).Single()["groups"]![0]!["rules"];
            Assert.True(JsonNode.DeepEquals(rules, group!["rules"]), $"the rules of {name} are others:\n{group}");
        }

        var maps = documents.Where(static document => (string?)document["kind"] == "ConfigMap").ToList();
        Assert.Equal(2, maps.Count);
        foreach (var map in maps)
        {
            Assert.Equal("1", (string?)map["metadata"]!["labels"]!["grafana_dashboard"]);
            var (name, content) = map["data"]!.AsObject().Single();
            Assert.Equal(Tree.Read("deploy", "telemetry", "grafana", name).Trim(), ((string)content!).Trim());
        }
    }

    [GeneratedRegex(@"^## \[([0-9][^\]]*)\]", RegexOptions.Multiline)]
    private static partial Regex Newest();
}
