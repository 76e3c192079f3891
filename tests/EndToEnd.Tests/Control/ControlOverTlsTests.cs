using System.Text.Json;
using FedRLora.ControlPlane;
using FedRLora.ControlPlane.Http;
using FedRLora.EndToEnd.Tests.Wall;
using FedRLora.Grains.Tests.Control;
using FedRLora.Pki;
using Microsoft.Extensions.Logging.Abstractions;

namespace FedRLora.EndToEnd.Tests.Control;

/// <summary>Commands to a silo that other machines reach: tokens that the program made, certificates, and the record of it all.</summary>
public sealed class ControlOverTlsTests : IAsyncLifetime
{
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("fedrlora-https-");
    private readonly TestAuthority _authority = new();
    private WallSilo _silo = null!;

    private string Tokens => In("tokens");

    private ControlOptions Options => ControlOptions.OnPort(0) with { Tls = TlsFiles.In(In("server")), TokensFile = Tokens };

    private string[] Silo => ["--server", $"{_silo.Control.Address}".TrimEnd('/')];

    private string[] Ca => ["--ca", Path.Combine(In("server"), TlsFiles.AuthoritiesName)];

    public async Task InitializeAsync()
    {
        _authority.Write(In("server"), _authority.Server());
        Assert.Equal(0, (await TokenAsync("otto", "--role", "operator", "--out", In("otto"))).Code);
        _silo = await WallSilo.StartAsync(Options);
    }

    public async Task DisposeAsync()
    {
        await _silo.DisposeAsync();
        _folder.Delete(recursive: true);
    }

    [Fact]
    public async Task A_token_is_made_once_counts_within_a_second_and_what_it_did_is_in_the_record()
    {
        var made = await TokenAsync("nora", "--site", "north", "--role", "viewer", "--until", "2999-12-31");
        Assert.Equal((0, $"{Tokens}: nora is viewer,site:north until 2999-12-31; the token is shown this once\n"), (made.Code, made.Error));
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(Tokens));
        Assert.DoesNotContain(made.Output.Trim(), await File.ReadAllTextAsync(Tokens), StringComparison.Ordinal);
        Assert.Equal($"{Tokens}:3: the name nora stands in a line before; give this one another\n",
            (await TokenAsync("nora", "--role", "viewer")).Error);
        Assert.Equal(2, (await TokenAsync("x")).Code);
        await File.WriteAllTextAsync(In("nora"), made.Output);
        File.SetUnixFileMode(In("nora"), UnixFileMode.UserRead | UnixFileMode.UserWrite);
        await Task.Delay(1100);

        Assert.Equal(0, (await RunAsync(["runs"], "nora")).Code);
        var refused = await RunAsync(["pause", "none"], "nora");
        Assert.Equal((2, $"{Silo[1]}: this token does not allow that (it is in {In("nora")}); name the file of another with --token-file "
            + $"FILE\n"),
            (refused.Code, refused.Error));
        Assert.Equal(2, (await RunAsync(["pause", "none"], "otto")).Code);

        var record = await RunAsync(["audit"], "otto");
        Assert.Equal(0, record.Code);
        Assert.Collection(record.Output.Split('\n', StringSplitOptions.RemoveEmptyEntries),
            static line => Assert.Matches(@"one#1 pauseRun refused with 403, run none, by nora \(tokens, token nora, viewer, site\), from "
                + "127.0.0.1$", line),
            static line => Assert.Matches(@"one#2 pauseRun asked, run none, by otto \(tokens, token otto, operator\), from 127.0.0.1, "
                + "body [0-9a-f]{12}$", line),
            static line => Assert.Matches(@"one#3 pauseRun answered #2 with 404, run none, by otto ", line));
        var end = Assert.Single(record.ErrorLines)["one: 3 lines, the last ".Length..];
        Assert.Equal(0, (await RunAsync(["audit", "--noted", end], "otto")).Code);
        var json = await CommandLine.RunAsync("audit", "--store", _silo.Store, "--json", "--noted", end);
        Assert.Equal(0, json.Code);
        Assert.All(json.Output.Split('\n', StringSplitOptions.RemoveEmptyEntries), static line => JsonDocument.Parse(line).Dispose());

        File.Delete(Path.Combine(_silo.Store, "audit", "one", "00000003.json"));
        var cut = await CommandLine.RunAsync("audit", "--store", _silo.Store, "--noted", end);
        Assert.Equal((1, "one: broken: lines 3 to 3 are cut off: 3 were noted"), (cut.Code, cut.ErrorLines[^1]));
        File.Delete(Path.Combine(_silo.Store, "audit", "one", "00000001.json"));
        var broken = await CommandLine.RunAsync("audit", "--store", _silo.Store);
        Assert.Equal((1, "one: broken: line 1 is missing"), (broken.Code, broken.ErrorLines[^1]));
    }

    [Fact]
    public async Task A_certificate_is_shown_and_one_that_is_refused_is_told_as_that()
    {
        var otto = _authority.Write(In("otto-tls"), _authority.Issue(["otto.operators.fedrlora"]));
        Assert.Equal(0, (await CommandLine.RunAsync(["runs", .. Silo, "--tls", otto])).Code);
        var opened = await CommandLine.RunAsync(["open", .. Silo, "--tls", otto]);
        Assert.StartsWith($"{Silo[1]}/enter?code=", opened.Output, StringComparison.Ordinal);

        var nobody = await CommandLine.RunAsync(["runs", .. Silo, .. Ca, "--token-file", In("none")]);
        Assert.Equal(2, nobody.Code);
        var unnamed = _authority.Write(In("unnamed-tls"), _authority.Issue(["otto.operators.elsewhere"]));
        var refused = await CommandLine.RunAsync(["runs", .. Silo, "--tls", unnamed]);
        Assert.Equal((2, $"{Silo[1]}: the certificate of CN=otto.operators.elsewhere does not allow that\n"), (refused.Code,
            refused.Error));

        var other = new TestAuthority("another authority");
        var foreign = other.Write(In("foreign-tls"), other.Issue(["otto.operators.fedrlora"]));
        // both are trusted here, and the silo trusts one
        await File.WriteAllTextAsync(In("both.crt"), _authority.Root.ExportCertificatePem() + "\n" + other.Root.ExportCertificatePem());
        var closed = await CommandLine.RunAsync(["runs", .. Silo, "--tls", foreign, "--ca", In("both.crt")]);
        Assert.Equal((3, $"{Silo[1]} answers, but not to the certificate {foreign}/tls.crt: it refuses it, and its log says why\n"),
            (closed.Code, closed.Error));
    }

    [Fact]
    public async Task Watch_goes_on_over_https_at_another_silo()
    {
        await using var second = new ControlServer(Options, _silo.Services, NullLoggerFactory.Instance);
        await second.StartAsync(CancellationToken.None);
        const string plan = """
            name: tiny
            model: none
            strategy: {rounds: 3}
            clients:
              - {id: one, task: a, site: north, data: {train: one.jsonl, test: one.jsonl}}
            """;
        await _silo.SubmitAsync("tiny", plan, last: 1);
        await _silo.CommittedAsync("tiny", 1);
        var watching = CommandLine.RunAsync(
            ["watch", "tiny", "--json", "--server", $"{second.Address}", .. Silo, .. Ca, "--token-file", In("otto")]);
        await Task.Delay(1000);
        await second.StopAsync(CancellationToken.None);
        _silo.Let(int.MaxValue);
        var result = await watching.WaitAsync(TimeSpan.FromSeconds(60));

        Assert.Equal(0, result.Code);
        var rounds = result.Output.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(static line =>
            JsonDocument.Parse(line).RootElement)
            .Where(static line => line.TryGetProperty("round", out var round) && round.ValueKind == JsonValueKind.Number
                && line.TryGetProperty("sha256", out _))
            .Select(static line => line.GetProperty("round").GetInt32());
        Assert.Equal([0, 1, 2, 3], rounds);
    }

    private string In(string name) => Path.Combine(_folder.FullName, name);

    private Task<CommandResult> TokenAsync(string name, params string[] more) =>
        CommandLine.RunAsync(["token", "--name", name, "--file", Tokens, .. more]);

    private Task<CommandResult> RunAsync(string[] command, string who) =>
        CommandLine.RunAsync([.. command, .. Silo, .. Ca, "--token-file", In(who)]);
}
