using System.Net;
using System.Text;
using FedRLora.ControlPlane.Access;

namespace FedRLora.Grains.Tests.Control;

/// <summary>Each route with each kind of caller: what the table says is what the server does.</summary>
public class RouteTableTests(OneControlledSilo one) : IClassFixture<OneControlledSilo>
{
    public static TheoryData<string, string> Table()
    {
        var data = new TheoryData<string, string>();
        foreach (var route in Routes.All) data.Add(route.Method, route.Pattern);
        return data;
    }

    [Theory]
    [MemberData(nameof(Table))]
    public async Task A_route_is_open_to_those_whom_its_policy_names_and_to_nobody_else(string method, string pattern)
    {
        var policy = Routes.All.Single(route => route.Method == method && route.Pattern == pattern).Policy;
        using var stranger = one.Silos.As("no-token-of-this-server-but-as-long-as-one-is");
        using var forger = one.Silos.As(TokenFiles.Read(one.Silos.TokenFile)[..^1]);
        foreach (var caller in new[] { one.Silos.Nobody, stranger, forger })
            Assert.Equal(policy == Policy.Anyone, await IsLetInAsync(caller, HttpStatusCode.Unauthorized));
        Assert.Equal(policy is Policy.Anyone or Policy.View, await IsLetInAsync(one.Silos.Viewer, HttpStatusCode.Forbidden));
        Assert.True(await IsLetInAsync(one.Silos.Operator, HttpStatusCode.Forbidden));

        async Task<bool> IsLetInAsync(HttpClient caller, HttpStatusCode otherwise)
        {
            using var asked = new HttpRequestMessage(new HttpMethod(method),
                pattern.Replace("{run}", "none").Replace("{client}", "c00000").Replace("{silo}", "none"));
            if (method == "POST") asked.Content = new StringContent("{}", Encoding.UTF8, "application/json");
            using var answer = await caller.SendAsync(asked, HttpCompletionOption.ResponseHeadersRead);
            Assert.NotEqual(HttpStatusCode.MethodNotAllowed, answer.StatusCode);
            // entering asks for its own code
            if (pattern == Routes.Enter.Pattern) return answer.StatusCode == HttpStatusCode.Forbidden;
            if (answer.StatusCode is HttpStatusCode.Unauthorized or HttpStatusCode.Forbidden)
            {
                Assert.Equal(otherwise, answer.StatusCode);
                return false;
            }

            if (answer.StatusCode == HttpStatusCode.NotFound)
                Assert.DoesNotContain("no such route", await answer.Content.ReadAsStringAsync(), StringComparison.Ordinal);
            return true;
        }
    }

    [Fact]
    public void Every_route_that_is_mapped_is_in_the_table_and_every_route_of_the_table_is_mapped() =>
        Assert.Equal(
            Routes.All.Select(static route => $"{route.Method} {route.Pattern}").Order(StringComparer.Ordinal),
            one.Silos.Servers[0].Mapped.Order(StringComparer.Ordinal));

    [Fact]
    public async Task The_page_of_the_control_plane_has_every_route_with_who_may_use_it()
    {
        var page = await File.ReadAllTextAsync(Path.Combine(OpenApiToolsFactAttribute.Folder, "..", "..", "docs", "control.md"));
        var words = new Dictionary<Policy, string>
        {
            [Policy.Anyone] = "anyone", [Policy.View] = "viewer", [Policy.Operate] = "operator", [Policy.ReadSite] = "site",
        };
        Assert.All(Routes.All, route =>
            Assert.Contains($"| `{route.Method} {route.Pattern}` | {words[route.Policy]} | {route.Summary} |", page,
                StringComparison.Ordinal));
    }

    [Fact]
    public async Task A_path_that_is_no_route_says_nothing_to_anybody()
    {
        foreach (var path in new[] { "/v1", "/v1/runs/none/nothing", "/../etc/passwd", "/v2/runs", "/wwwroot", "/v1/runs/none/adapter" })
            await one.Silos.Nobody.GetAsync(path).RefusalAsync(HttpStatusCode.NotFound);
    }
}
