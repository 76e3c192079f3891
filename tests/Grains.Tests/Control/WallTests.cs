using System.Net;
using System.Text.RegularExpressions;
using FedRLora.ControlPlane.Access;
using FedRLora.ControlPlane.Wall;

namespace FedRLora.Grains.Tests.Control;

/// <summary>The pages of the wall as the server gives them; what they do in a browser is tested in one.</summary>
public partial class WallTests(OneControlledSilo one) : IClassFixture<OneControlledSilo>
{
    private static CancellationToken InTime => new CancellationTokenSource(TimeSpan.FromMinutes(2)).Token;

    [Theory]
    [InlineData("/")]
    [InlineData("/runs/none")]
    public async Task A_page_runs_the_files_of_the_program_and_nothing_that_stands_in_it(string path)
    {
        using var answer = await one.Silos.Viewer.GetAsync(path);
        var page = await answer.Content.ReadAsStringAsync();

        Assert.Equal(WallRoutes.ContentSecurityPolicy, answer.Headers.GetValues("Content-Security-Policy").Single());
        Assert.DoesNotContain("unsafe", WallRoutes.ContentSecurityPolicy, StringComparison.Ordinal);
        Assert.DoesNotMatch(@"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son\w+=|\{\{", page);
        Assert.All(Named().Matches(page), static name =>
            Assert.StartsWith(WallAssets.Root + "/", name.Groups["name"].Value, StringComparison.Ordinal));
    }

    [Fact]
    public void Every_file_that_a_page_or_a_module_names_is_there()
    {
        foreach (var file in WallAssets.Names.Where(static name => !name.StartsWith("vendor/", StringComparison.Ordinal)))
        {
            var text = WallAssets.Text(file).Replace("{{assets}}", "", StringComparison.Ordinal);
            foreach (Match name in (file.EndsWith(".html", StringComparison.Ordinal) ? Named() : Imported()).Matches(text))
            {
                var path = new Uri(new Uri($"http://wall/{file}"), name.Groups["name"].Value).AbsolutePath[1..];
                Assert.True(WallAssets.Find(path) is not null, $"{file} names {path}, which is not there");
            }
        }
    }

    [Fact]
    public async Task A_file_is_kept_by_browsers_and_its_address_is_of_its_bytes()
    {
        using var answer = await one.Silos.Viewer.GetAsync($"{WallAssets.Root}/panels/now.js");

        Assert.Equal(HttpStatusCode.OK, answer.StatusCode);
        Assert.Equal("text/javascript", answer.Content.Headers.ContentType!.MediaType);
        Assert.Contains("immutable", answer.Headers.GetValues("Cache-Control").Single(), StringComparison.Ordinal);
        Assert.Equal(WallRoutes.ContentSecurityPolicy, answer.Headers.GetValues("Content-Security-Policy").Single());
        await one.Silos.Viewer.GetAsync("/assets/0123456789abcdef/run.js").RefusalAsync(HttpStatusCode.NotFound);
        await one.Silos.Viewer.GetAsync($"{WallAssets.Root}/../run.js").RefusalAsync(HttpStatusCode.NotFound);
        await one.Silos.Viewer.GetAsync($"{WallAssets.Root}/appsettings.json").RefusalAsync(HttpStatusCode.NotFound);
    }

    [Fact]
    public async Task A_browser_steers_with_the_token_where_a_file_of_one_was_named()
    {
        await using var silos = await ControlledFederation.StartAsync();
        await silos.Federation.RunAsync("test", TestFederation.Plan(), InTime);
        var made = await silos.Operator.PostJsonAsync("/v1/entrances", "{}").ReadAsync();
        using var entered = await silos.Nobody.GetAsync(made.GetProperty("address").GetString());
        var cookie = entered.Headers.GetValues("Set-Cookie").Single().Split(';')[0];

        Assert.Contains("data-token=\"true\"", await (await SendAsync(HttpMethod.Get, "/runs/test", null)).Content.ReadAsStringAsync(),
            StringComparison.Ordinal);
        Assert.Equal(HttpStatusCode.Forbidden, (await SendAsync(HttpMethod.Post, "/v1/runs/test/extend", null)).StatusCode);
        Assert.Equal(HttpStatusCode.Unauthorized, (await SendAsync(HttpMethod.Post, "/v1/runs/test/extend", "wrong")).StatusCode);
        Assert.Equal(HttpStatusCode.OK,
            (await SendAsync(HttpMethod.Post, "/v1/runs/test/extend", TokenFiles.Read(silos.TokenFile))).StatusCode);

        Task<HttpResponseMessage> SendAsync(HttpMethod method, string path, string? token)
        {
            var asked = new HttpRequestMessage(method, path) { Headers = { { "Cookie", cookie } } };
            if (token is not null) asked.Headers.Authorization = new("Bearer", token);
            if (method == HttpMethod.Post) asked.Content = new StringContent("""{"rounds": 9}""", null, "application/json");
            return silos.Nobody.SendAsync(asked);
        }
    }

    [Fact]
    public async Task The_first_page_of_a_process_of_one_run_is_that_runs()
    {
        await using var silos = await ControlledFederation.StartAsync(isOfOneRun: true);
        Assert.Equal(HttpStatusCode.OK, (await silos.Viewer.GetAsync("/")).StatusCode);
        await silos.Federation.RunAsync("test", TestFederation.Plan(), InTime);
        using var answer = await silos.Viewer.GetAsync("/");
        Assert.Equal("/runs/test", answer.Headers.Location?.OriginalString);
    }

    [GeneratedRegex("""(?:href|src)="(?<name>(?!/")[^"#]+)"|url\("(?<name>[^"]+)"\)""")]
    private static partial Regex Named();

    [GeneratedRegex("""(?:from|import\(|new URL\()\s*'(?<name>\.[^']+)'""")]
    private static partial Regex Imported();
}
