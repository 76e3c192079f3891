using System.Net;
using System.Net.Http.Json;
using System.Runtime.CompilerServices;
using System.Security.Cryptography;
using System.Text;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Ports;
using FedRLora.ControlPlane.Audit;
using FedRLora.Silo.Storage;
using Microsoft.Extensions.Logging.Abstractions;

namespace FedRLora.Grains.Tests.Control;

/// <summary>The record of what was done.</summary>
public class AuditTests
{
    private static CancellationToken InTime => new CancellationTokenSource(TimeSpan.FromMinutes(1)).Token;

    [Fact]
    public async Task Each_action_is_recorded_before_and_after_it_with_who_from_where_and_what_and_never_a_token()
    {
        await using var control = await TlsControl.StartAsync();
        var store = new AuditStore(control.Federation.Store);
        using var otto = control.As("otto");
        var certificate = control.Authority.Issue(["north.sites.fedrlora"]);
        using var north = control.With(token: null, certificate);
        using var vera = control.As("vera");
        using var nobody = control.With(token: null);
        var plan = TestFederation.Plan(clients: 2, rounds: 1, site: static i => i == 0 ? "north" : "south");

        await otto.SubmitAsync(plan, "known").ReadAsync(HttpStatusCode.Created);
        await control.Federation.FinishAsync("known", InTime);
        await vera.GetAsync("/v1/runs").ReadAsync(); // seeing is not recorded
        await vera.PostJsonAsync("/v1/runs/known/cancel", "{}").RefusalAsync(HttpStatusCode.Forbidden);
        await nobody.PostJsonAsync("/v1/runs/known/cancel", "{}").RefusalAsync(HttpStatusCode.Unauthorized);
        using (await north.GetAsync($"/v1/runs/known/clients/{TlsControl.North}/steps"))
        {
        }

        await north.GetAsync($"/v1/runs/known/clients/{TlsControl.South}/steps").RefusalAsync(HttpStatusCode.Forbidden);
        await otto.PostJsonAsync("/v1/runs/none/pause", "{}").RefusalAsync(HttpStatusCode.NotFound);

        var lines = await ReadAsync(store);
        Assert.Equal(
        [
            "1 submitRun asked known otto", "2 submitRun answered 201 of 1 known otto", "3 cancelRun refused 403 known vera",
            "4 cancelRun refused 401 known nobody", "5 getSteps asked known north", "6 getSteps answered 200 of 5 known north",
            "7 getSteps asked known north", "8 getSteps answered 403 of 7 known north", "9 pauseRun asked none otto",
            "10 pauseRun answered 404 of 9 none otto",
        ], lines.Select(static line => line.Text));
        var first = lines[0].Line;
        Assert.Equal(Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(plan))), first.PlanSha256);
        Assert.Equal(("127.0.0.1", "tokens", "token otto"), (first.From, first.Who!.By, first.Who.Credential));
        Assert.Equal(("certificate", $"serial {certificate.SerialNumber}"), (lines[4].Line.Who!.By, lines[4].Line.Who!.Credential));
        Assert.Equal(TlsControl.South, lines[6].Line.Client);
        Assert.All(lines, line => Assert.All(new[] { "otto", "vera" },
            name => Assert.DoesNotContain(control.TokenOf(name), line.Stored, StringComparison.Ordinal)));

        // over HTTP they are what is stored
        var end = (await otto.GetAsync("/v1/audit").ReadAsync()).GetProperty("chains")[0];
        Assert.Equal(10, end.GetProperty("lines").GetInt32());
        var silo = end.GetProperty("silo").GetString();
        Assert.Equal(string.Concat(lines.Skip(4).Take(3).Select(static line => line.Stored)),
            await otto.GetStringAsync($"/v1/audit/{silo}?after=4&most=3"));
        await vera.GetAsync("/v1/audit").RefusalAsync(HttpStatusCode.Forbidden);
        Assert.DoesNotContain("submitRun", await vera.GetStringAsync("/v1/logs"), StringComparison.Ordinal);
        await otto.GetAsync("/v1/audit/other").RefusalAsync(HttpStatusCode.NotFound);
    }

    [Fact]
    public async Task What_cannot_be_recorded_is_not_done()
    {
        var folder = Directory.CreateTempSubdirectory("fedrlora-audit-");
        try
        {
            var store = new StoreWithoutAudit(new DirectoryBlobStore(folder.FullName));
            await using var control = await TlsControl.StartAsync(federation: await TestFederation.StartAsync(store: store));
            using var otto = control.As("otto");
            store.IsAway = true;
            var refusal = await otto.SubmitAsync(TestFederation.Plan(), "known").RefusalAsync(HttpStatusCode.ServiceUnavailable);
            Assert.Equal("not done: its line in the audit record cannot be written: the store is away", refusal);
            await otto.GetAsync("/v1/runs/known").RefusalAsync(HttpStatusCode.NotFound);
            store.IsAway = false;
            await otto.SubmitAsync(TestFederation.Plan(rounds: 1), "known").ReadAsync(HttpStatusCode.Created);
            Assert.Equal(["1 submitRun asked known otto", "2 submitRun answered 201 of 1 known otto"],
                (await ReadAsync(new(store))).Select(static line => line.Text));
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }

    [Theory]
    [InlineData("""{"plan": "decoy", "PLAN": "PLAN", "run": "a", "RUN": "b"}""")]
    [InlineData("""{"plan": "decoy", "plan": "PLAN", "run": "a"}""")]
    [InlineData("""{"plan": "PLAN", "run": "\\ud800"}""")]
    public async Task A_body_that_could_be_read_in_two_ways_is_refused_and_recorded(string body)
    {
        await using var control = await TlsControl.StartAsync();
        using var otto = control.As("otto");
        var plan = System.Text.Json.JsonSerializer.Serialize(TestFederation.Plan(rounds: 1));

        await otto.PostJsonAsync("/v1/runs", body.Replace("\"PLAN\":", "\"Plan\":", StringComparison.Ordinal)
            .Replace("\"PLAN\"", plan, StringComparison.Ordinal)).RefusalAsync(HttpStatusCode.BadRequest);

        Assert.Equal(2, (await ReadAsync(new(control.Federation.Store))).Count);
        Assert.Empty((await otto.GetAsync("/v1/runs").ReadAsync()).GetProperty("runs").EnumerateArray());
    }

    [Fact]
    public async Task A_store_that_hangs_is_not_ready_and_says_so()
    {
        var folder = Directory.CreateTempSubdirectory("fedrlora-audit-");
        try
        {
            var store = new StoreWithoutAudit(new DirectoryBlobStore(folder.FullName));
            await using var control = await TlsControl.StartAsync(federation: await TestFederation.StartAsync(store: store));
            using var nobody = control.With(token: null);
            Assert.Equal("ready\n", await nobody.GetStringAsync("/health/ready"));
            store.Hangs = true;

            using var answer = await nobody.GetAsync("/health/ready");

            store.Hangs = false;
            Assert.Equal((HttpStatusCode.ServiceUnavailable, "not ready: the store of runs has not answered for 4 s\n"),
                (answer.StatusCode, await answer.Content.ReadAsStringAsync()));
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }

    [Fact]
    public async Task Two_processes_of_one_name_continue_one_chain()
    {
        using var place = new Place();
        using var one = place.Log();
        using var other = place.Log();
        await Task.WhenAll(Enumerable.Range(0, 20).Select(i => (i % 2 == 0 ? one : other).AddAsync(Line($"run-{i}"))));

        var lines = await ReadAsync(place.Store); // in which every digest is that of the line before
        Assert.Equal(Enumerable.Range(1, 20), lines.Select(static line => line.Line.Number));
        Assert.Equal(20, lines.Select(static line => line.Line.Run).Distinct().Count());
    }

    [Theory]
    [InlineData("change 2", "line 2 was changed, or line 3 does not follow it: the digests differ")]
    [InlineData("delete 2", "line 2 is missing")]
    [InlineData("delete 2 3", "lines 2 to 3 are missing")]
    [InlineData("delete 1", "line 1 is missing")]
    [InlineData("swap 2 3", "line 2 is missing")]
    [InlineData("destroy 3", "line 3 is not one of the record")]
    [InlineData("foreign 4", "line 4 is of silo other")]
    [InlineData("delete 4", null)]
    public async Task What_was_changed_is_told_by_its_line(string harm, string? problem)
    {
        using var place = new Place();
        using (var log = place.Log())
        {
            for (var i = 1; i <= 4; i++) await log.AddAsync(Line($"run-{i}"));
        }

        var words = harm.Split(' ');
        var files = words.Skip(1).Select(number => place.FileOf(int.Parse(number,
            System.Globalization.CultureInfo.InvariantCulture))).ToList();
        switch (words[0])
        {
            case "change":
                await File.WriteAllTextAsync(files[0], (await File.ReadAllTextAsync(files[0])).Replace("run-2", "run-9",
                    StringComparison.Ordinal));
                break;
            case "delete":
                foreach (var file in files) File.Delete(file);
                break;
            case "swap":
                var (first, second) = (await File.ReadAllBytesAsync(files[0]), await File.ReadAllBytesAsync(files[1]));
                await File.WriteAllBytesAsync(files[0], second);
                await File.WriteAllBytesAsync(files[1], first);
                break;
            case "destroy":
                await File.WriteAllTextAsync(files[0], "{");
                break;
            default:
                await File.WriteAllTextAsync(files[0], (await File.ReadAllTextAsync(files[0])).Replace("\"one\"", "\"other\"",
                    StringComparison.Ordinal));
                break;
        }

        var chain = new AuditChain("one");
        await foreach (var (_, line) in place.Store.LinesAsync("one", 0, int.MaxValue, InTime)) chain.Take(line);
        // an end that is cut off shows against a number and a digest that were noted outside alone
        Assert.Equal(problem is null ? 3 : 4, chain.End.Lines);
        Assert.StartsWith(problem ?? "", chain.Problem ?? "", StringComparison.Ordinal);
        Assert.Equal(problem is null, chain.Problem is null);
    }

    [Fact]
    public async Task Strangers_do_not_fill_the_store()
    {
        await using var control = await TlsControl.StartAsync();
        using var nobody = control.With(token: null);
        for (var i = 0; i < 80; i++)
        {
            using var answer = await nobody.PostJsonAsync("/v1/runs/x/cancel", "{}");
            Assert.Equal(HttpStatusCode.Unauthorized, answer.StatusCode);
        }

        using var otto = control.As("otto");
        await otto.PostJsonAsync("/v1/runs/x/cancel", "{}").RefusalAsync(HttpStatusCode.NotFound);
        var lines = await ReadAsync(new(control.Federation.Store));
        Assert.Equal(62, lines.Count);
        Assert.Equal(20, lines[60].Line.Unwritten);
    }

    private static AuditLine Line(string run) => new()
    {
        Silo = "", Number = 0, Previous = "", At = default, What = AuditEvent.Refused, Route = "cancelRun", From = "10.0.0.7", Run = run,
    };

    // The lines of the one chain, which has to be whole.
    private static async Task<IReadOnlyList<(AuditLine Line, string Stored, string Text)>> ReadAsync(AuditStore store)
    {
        var silo = Assert.Single(await store.SilosAsync(InTime));
        var chain = new AuditChain(silo);
        List<(AuditLine, string, string)> lines = [];
        await foreach (var (_, stored) in store.LinesAsync(silo, 0, int.MaxValue, InTime))
        {
            var line = chain.Take(stored)!;
            lines.Add((line, Encoding.UTF8.GetString(stored), string.Join(' ', new[]
            {
                $"{line.Number}", line.Route, line.What.ToString().ToLowerInvariant(), line.Status is { } status ? $"{status}" : null,
                line.Of is { } of ? $"of {of}" : null, line.Run, line.Who?.Name ?? "nobody",
            }.OfType<string>())));
        }

        Assert.Null(chain.Problem);
        return lines;
    }

    private sealed class Place : IDisposable
    {
        private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("fedrlora-audit-");
        private readonly DirectoryBlobStore _store;

        public Place()
        {
            _store = new(_folder.FullName);
            Store = new(_store);
        }

        public AuditStore Store { get; }

        public AuditLog Log() => new("one", Store, TimeProvider.System, NullLogger<AuditLog>.Instance);

        public string FileOf(int number) => Path.Combine(_folder.FullName, Keys.AuditLine("one", number));

        public void Dispose()
        {
            _store.Dispose();
            _folder.Delete(recursive: true);
        }
    }

    private sealed class StoreWithoutAudit(IBlobStore inner) : IBlobStore
    {
        public bool IsAway { get; set; }

        public bool Hangs { get; set; }

        public Task<WrittenBlob> WriteAsync(
            string key, Func<Stream, CancellationToken, Task> content, WriteCondition condition,
                CancellationToken cancellationToken = default) =>
            IsAway && key.StartsWith(Keys.Audit, StringComparison.Ordinal) ? throw new StoreUnavailableException("the store is away")
                : inner.WriteAsync(key, content, condition, cancellationToken);

        public Task<OpenedBlob?> OpenAsync(string key, CancellationToken cancellationToken = default) => inner.OpenAsync(key,
            cancellationToken);

        public async IAsyncEnumerable<string> ListAsync(
            string prefix, [EnumeratorCancellation] CancellationToken cancellationToken = default)
        {
            if (Hangs) await Task.Delay(Timeout.Infinite, cancellationToken);
            await foreach (var key in inner.ListAsync(prefix, cancellationToken)) yield return key;
        }

        public Task DeleteAsync(string key, CancellationToken cancellationToken = default) => inner.DeleteAsync(key, cancellationToken);

        public Task DeleteAllAsync(string prefix, CancellationToken cancellationToken = default) => inner.DeleteAllAsync(prefix,
            cancellationToken);

        public Task MakeDurableAsync(CancellationToken cancellationToken = default) => inner.MakeDurableAsync(cancellationToken);
    }
}
