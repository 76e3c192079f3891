using System.Net;
using System.Text;
using FedRLora.ControlPlane.Access;
using FedRLora.Pki;

namespace FedRLora.Grains.Tests.Control;

/// <summary>A control plane that other machines reach, with a finished run of two sites, for the tests of a class.</summary>
public sealed class OneTlsControl : IAsyncLifetime
{
    internal TlsControl Control { get; private set; } = null!;

    internal IReadOnlyList<(string Who, HttpClient Client)> Callers { get; private set; } = [];

    public async Task InitializeAsync()
    {
        Control = await TlsControl.StartAsync();
        await Control.RunAsync();
        Control.Add("late", "operator", more: " until=2020-01-01");
        var foreign = new TestAuthority("another authority");
        var revoked = Control.Authority.Issue(["rita.operators.fedrlora"]);
        await File.WriteAllTextAsync(TlsFiles.In(Control.Folder).Denied, $"{revoked.SerialNumber}\nsite west\n");
        Callers =
        [
            ("nobody", Control.With(token: null)),
            ("unknown token", Control.With("no-token-of-this-server-but-as-long-as-one-is")),
            ("ended token", Control.As("late")),
            ("viewer", Control.As("vera")), ("operator", Control.As("otto")), ("own site", Control.As("nora")),
            ("other site", Control.As("sara")), ("operator and own site", Control.As("both")),
            ("viewer's certificate", Control.Holding("vera.viewers.fedrlora")),
            ("operator's certificate", Control.Holding("otto.operators.fedrlora")),
            ("own site's certificate", Control.Holding("north.sites.fedrlora")),
            ("other site's certificate", Control.Holding("south.sites.fedrlora")),
            ("certificate of nobody's name", Control.Holding("otto.operators.elsewhere")),
            ("bad token beside an operator's certificate",
                Control.With("no-token-of-this-server-but-as-long-as-one-is", Control.Authority.Issue(["otto.operators.fedrlora"]))),
            ("viewer's token beside an operator's certificate",
                Control.With(Control.TokenOf("vera"), Control.Authority.Issue(["otto.operators.fedrlora"]))),
            ("foreign", Control.With(token: null, foreign.Issue(["otto.operators.fedrlora"]))),
            ("foreign with a token", Control.With(Control.TokenOf("otto"), foreign.Issue(["otto.operators.fedrlora"]))),
            ("expired", Control.With(token: null, Control.Authority.Issue(["otto.operators.fedrlora"],
                from: TestAuthority.Now.AddDays(-3), until: TestAuthority.Now.AddDays(-1)))),
            ("not yet", Control.With(token: null, Control.Authority.Issue(["otto.operators.fedrlora"],
                from: TestAuthority.Now.AddDays(1), until: TestAuthority.Now.AddDays(2)))),
            ("server's certificate", Control.With(token: null,
                Control.Authority.Issue(["otto.operators.fedrlora"], [CertificateUse.Server]))),
            ("revoked", Control.With(token: null, revoked)),
            ("revoked site", Control.Holding("west.sites.fedrlora")),
        ];
        // the deny-list was written after the start: it counts within some seconds
        await Eventually.Async(async () => await Outcome.OfAsync(Callers.Single(static one => one.Who == "revoked site").Client,
            Routes.Live)
            == Outcome.Closed);
    }

    public async Task DisposeAsync()
    {
        foreach (var (_, client) in Callers) client.Dispose();
        await Control.DisposeAsync();
    }
}

/// <summary>
/// Every route with every kind of caller from outside: what the policy of the route says of him is what he gets, and whoever's certificate
/// is refused gets no answer at all.
/// </summary>
public class OutsiderTableTests(OneTlsControl one) : IClassFixture<OneTlsControl>
{
    public static TheoryData<string, string> Table()
    {
        var data = new TheoryData<string, string>();
        foreach (var route in Routes.All) data.Add(route.Method, route.Pattern);
        return data;
    }

    [Theory]
    [MemberData(nameof(Table))]
    public async Task A_route_is_open_from_outside_to_those_whom_its_policy_names(string method, string pattern)
    {
        var route = Routes.All.Single(route => route.Method == method && route.Pattern == pattern);
        var table = new List<string>();
        foreach (var (who, client) in one.Callers)
        {
            var (expected, found) = (Expected(route.Policy, who), await Outcome.OfAsync(client, route));
            if (expected != found) table.Add($"{who}: {found} instead of {expected}");
        }

        Assert.Empty(table);
    }

    private static string Expected(Policy policy, string who) => (policy, who) switch
    {
        (_, "foreign" or "foreign with a token" or "expired" or "not yet" or "server's certificate" or "revoked" or "revoked site") =>
            Outcome.Closed,
        (Policy.Anyone, _) => Outcome.LetIn,
        (_, "nobody" or "unknown token" or "ended token" or "bad token beside an operator's certificate") => Outcome.Unknown,
        (_, "certificate of nobody's name") => Outcome.Refused,
        (Policy.View, _) => Outcome.LetIn,
        (Policy.Operate, "operator" or "operator and own site" or "operator's certificate") => Outcome.LetIn,
        (Policy.ReadSite, "own site" or "operator and own site" or "own site's certificate") => Outcome.LetIn,
        _ => Outcome.Refused,
    };
}

/// <summary>What becomes of a call.</summary>
internal static class Outcome
{
    public const string LetIn = "let in", Unknown = "401", Refused = "403", Closed = "closed";

    public static async Task<string> OfAsync(HttpClient client, ControlRoute route)
    {
        using var asked = new HttpRequestMessage(new HttpMethod(route.Method), route.Pattern.Replace("{run}", TlsControl.Run)
            .Replace("{client}", TlsControl.North).Replace("{silo}", "none").Replace("{hash}/{**file}", "0/none"));
        if (route.Method == "POST") asked.Content = new StringContent(
            route == Routes.Generate ? """{"prompt":"a"}""" : "{}", Encoding.UTF8, "application/json");
        try
        {
            using var answer = await client.SendAsync(asked, HttpCompletionOption.ResponseHeadersRead);
            if (route == Routes.Enter) return answer.StatusCode == HttpStatusCode.Forbidden ? LetIn
                : $"{answer.StatusCode}"; // asks for its code
            return answer.StatusCode switch
            {
                HttpStatusCode.Unauthorized => Unknown,
                HttpStatusCode.Forbidden => Refused,
                HttpStatusCode.NotFound when (await answer.Content.ReadAsStringAsync()).Contains("no such route",
                    StringComparison.Ordinal) =>
                    "no route",
                HttpStatusCode.InternalServerError => "500: " + await answer.Content.ReadAsStringAsync(),
                HttpStatusCode.MethodNotAllowed or HttpStatusCode.MisdirectedRequest => $"{answer.StatusCode}",
                _ => LetIn,
            };
        }
        catch (HttpRequestException)
        {
            return Closed;
        }
    }
}

/// <summary>Waits for what comes by itself.</summary>
internal static class Eventually
{
    public static async Task Async(Func<Task<bool>> holds, double seconds = 15)
    {
        using var enough = new CancellationTokenSource(TimeSpan.FromSeconds(seconds));
        while (!await holds()) await Task.Delay(50, enough.Token);
    }
}
