using System.Diagnostics;
using FedRLora.Abstractions.Messages;
using FedRLora.Pki;
using FedRLora.Silo.Clustering;
using FedRLora.Silo.Tls;
using Microsoft.Extensions.DependencyInjection;
using Orleans.Runtime;
using Xunit.Abstractions;

namespace FedRLora.Grains.Tests.Tls;

/// <summary>What changes while silos run: certificates, authorities, who is denied, the time.</summary>
public sealed class TlsChangeTests(ITestOutputHelper log) : IAsyncLifetime, IDisposable
{
    private static readonly TimeSpan Bound = TimeSpan.FromSeconds(30); // that is promised
    private readonly TlsSilos _silos = new();

    public Task InitializeAsync() => Task.CompletedTask;

    public Task DisposeAsync() => _silos.DisposeAsync().AsTask();

    public void Dispose() => _silos.Dispose();

    [Fact]
    public async Task A_run_goes_through_a_change_of_root_and_leaves_with_an_equal_digest()
    {
        var plan = TestFederation.Plan(rounds: 9, site: static i => i % 2 == 0 ? "north" : "south");
        await using var plain = await TestFederation.StartAsync(["north", "south"]);
        var expected = await plain.RunAsync("run", plan, CancellationToken.None);
        using var next = new TestAuthority("the next authority");
        var (north, south) = (await _silos.StartAsync("north-a", "north"), await _silos.StartAsync("south-a", "south"));
        TlsSilo[] both = [north, south];
        string[] names = ["north-a", "south-a"];
        var before = _silos.Authority.IssueSite("south");
        var gates = new[] { 3, 5, 7 }.ToDictionary(static round => round, static _ => new TaskCompletionSource());
        _silos.Trainer.BeforeTraining = (group, token) => gates.TryGetValue(group.Round, out var gate)
            ? gate.Task.WaitAsync(token) : Task.CompletedTask;

        var run = TlsRunTests.RunAsync(north, "run", plan);
        await ReachesAsync(3);
        foreach (var name in names) // 1: both roots are trusted
            await TrustAsync(name, _silos.Authority.Pem + "\n" + next.Pem);
        foreach (var silo in both)
            await silo.Log.UntilAsync("the authorities trusted now are CN=a test's authority, CN=the next authority");
        gates[3].SetResult();
        await ReachesAsync(5);
        foreach (var (name, silo) in names.Zip(both)) // 2: leaves of the new one, one by one
        {
            TestAuthority.WritePair(_silos.FolderOf(name), next.IssueSite(name[..5]));
            await silo.Log.UntilAsync("a new certificate is served");
        }

        gates[5].SetResult();
        await ReachesAsync(7);
        foreach (var name in names) // 3: the new root alone
            await TrustAsync(name, next.Pem);
        foreach (var silo in both) await silo.Log.UntilAsync("the authorities trusted now are CN=the next authority");
        // connections of the old leaves; whichever silo looks first closes both ends
        await await Task.WhenAny(both.Select(static silo => silo.Log.UntilAsync("its certificate is refused now")));
        gates[7].SetResult();

        Assert.Equal(expected, await run);
        Assert.False(await north.AnswersAsync(north.GatewayPort, before, north.Preamble(null)), "the old root still counts");
        Assert.Equal(SiloStatus.Active, _silos.Table.StatusOf(south.Address));
        log.WriteLine(string.Join('\n', north.Log.All));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Open_connections_of_what_is_denied_are_closed_within_the_bound_and_no_session_gets_round_it(bool gateway)
    {
        var north = await _silos.StartAsync("north-a", "north", static settings => settings with { LookEvery = TimeSpan.FromSeconds(5) });
        var south = _silos.Authority.IssueSite("south");
        var silo = SiloAddress.New(new(System.Net.IPAddress.Loopback, TlsSilos.FreePort()), SiloAddress.AllocateNewGeneration());
        _silos.Table.Claim(silo, "south-a@south", SiloStatus.Joining, TestAuthority.Now.UtcDateTime);
        var (port, first) = gateway ? (north.GatewayPort, north.Preamble(null)) : (north.SiloPort, north.Preamble(silo));
        await using var held = await HeldConnection.OpenAsync(port, south, first);

        await File.WriteAllTextAsync(
            Path.Combine(_silos.FolderOf("north-a"), TlsFiles.DeniedName), gateway ? south.SerialNumber : "site south");
        var began = Stopwatch.GetTimestamp();
        await held.ClosedAsync(Bound);

        log.WriteLine($"closed after {Stopwatch.GetElapsedTime(began).TotalSeconds:F1} s");
        Assert.False(await north.AnswersAsync(port, south, first));
    }

    [Fact]
    public async Task Open_connections_of_a_certificate_that_ran_out_are_closed()
    {
        var clock = new ShiftedTime();
        var north = await _silos.StartAsync("north-a", "north", settings => settings with { Clock = clock });
        var shortly = _silos.Authority.Issue(["south.sites.fedrlora"], until: TestAuthority.Now + TimeSpan.FromDays(1));
        await using var held = await HeldConnection.OpenAsync(north.GatewayPort, shortly, north.Preamble(null));

        clock.Shift = TimeSpan.FromDays(2);
        await held.ClosedAsync(Bound);

        Assert.Contains("clock says", await north.Log.UntilAsync("closed the gateway connection"), StringComparison.Ordinal);
        Assert.True(await north.AnswersAsync(north.GatewayPort, _silos.Authority.IssueSite("south"), north.Preamble(null)));
    }

    [Fact]
    public async Task A_denied_silo_is_declared_dead_and_another_of_its_site_takes_its_work_over()
    {
        var plan = TestFederation.Plan(rounds: 6, site: static i => i % 2 == 0 ? "north" : "south");
        await using var plain = await TestFederation.StartAsync(["north", "south"]);
        var expected = await plain.RunAsync("run", plan, CancellationToken.None);
        var north = await _silos.StartAsync("north-a", "north");
        var first = await _silos.StartAsync("south-a", "south");
        await _silos.StartAsync("south-b", "south");
        var gate = new TaskCompletionSource();
        _silos.Trainer.BeforeTraining = (group, token) => group.Round == 3 ? gate.Task.WaitAsync(token) : Task.CompletedTask;
        var run = TlsRunTests.RunAsync(north, "run", plan);
        await ReachesAsync(3);

        var serial = first.Host.Services.GetRequiredService<TlsIdentity>().Current.Certificate.SerialNumber;
        foreach (var name in new[] { "north-a", "south-b" })
            await File.WriteAllTextAsync(Path.Combine(_silos.FolderOf(name), TlsFiles.DeniedName), serial);
        var began = Stopwatch.GetTimestamp();
        while (_silos.Table.StatusOf(first.Address) != SiloStatus.Dead)
        {
            Assert.True(Stopwatch.GetElapsedTime(began) < Bound, "it is not declared dead");
            await Task.Delay(20);
        }

        log.WriteLine($"dead after {Stopwatch.GetElapsedTime(began).TotalSeconds:F1} s");
        gate.SetResult();
        Assert.Equal(expected, await run);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_silo_whose_own_certificate_does_not_count_any_more_ends_and_says_why(bool denied)
    {
        var clock = new ShiftedTime();
        var north = await _silos.StartAsync("north-a", "north", settings => settings with { Clock = clock });
        var own = north.Host.Services.GetRequiredService<TlsIdentity>().Current.Certificate;

        if (denied) await File.WriteAllTextAsync(Path.Combine(_silos.FolderOf("north-a"), TlsFiles.DeniedName), own.SerialNumber);
        else clock.Shift = TimeSpan.FromDays(40);
        var reason = await north.Host.Services.GetRequiredService<SiloEnding>().Reason.WaitAsync(Bound);

        Assert.Contains("silo north-a ends: its own certificate is refused: ", reason, StringComparison.Ordinal);
        Assert.Contains(denied ? "is revoked" : "clock says", reason, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', reason);
    }

    [Fact]
    public async Task A_pair_that_does_not_fit_leaves_the_old_one_serving_with_one_line_for_each_change()
    {
        var north = await _silos.StartAsync(
            "north-a", "north", static settings => settings with { LookEvery = TimeSpan.FromMilliseconds(50) });
        var caller = _silos.Authority.IssueSite("south");
        var folder = _silos.FolderOf("north-a");
        var before = await TlsSilo.SerialAsync(north.SiloPort, caller);
        using var renewed = _silos.Authority.IssueSite("north");
        var pem = renewed.ExportCertificatePem();
        string[] broken = [pem, pem[..(pem.Length / 2)], ""]; // beside the old key; half; nothing
        for (var i = 0; i < broken.Length; i++)
        {
            await File.WriteAllTextAsync(Path.Combine(folder, "next"), broken[i]);
            // renamed, so that it is not empty in between
            File.Move(Path.Combine(folder, "next"), Path.Combine(folder, TlsFiles.CertificateName), overwrite: true);
            var began = Stopwatch.GetTimestamp();
            while (Stopwatch.GetElapsedTime(began) < TimeSpan.FromMilliseconds(500))
                Assert.Equal(before, await TlsSilo.SerialAsync(north.SiloPort, caller));
            Assert.Equal(i + 1, north.Log.Count("what was in force before stays"));
        }

        TestAuthority.WritePair(folder, renewed);
        await north.Log.UntilAsync("a new certificate is served");
        Assert.Equal(DenyList.Serial(renewed.SerialNumber), await TlsSilo.SerialAsync(north.SiloPort, caller));
    }

    [Fact]
    public async Task A_secret_that_Kubernetes_swaps_by_a_link_is_taken_over()
    {
        var mount = _silos.FolderOf("north-a");
        void Project(string dated, System.Security.Cryptography.X509Certificates.X509Certificate2 pair)
        {
            TestAuthority.Write(Path.Combine(mount, dated), pair, _silos.Authority.Pem);
            File.CreateSymbolicLink(Path.Combine(mount, "..data_tmp"), dated);
            // as its kubelet does; .NET moves no link to a folder over another
            using var rename = Process.Start("mv", ["-T", Path.Combine(mount, "..data_tmp"), Path.Combine(mount, "..data")]);
            rename.WaitForExit();
            Assert.Equal(0, rename.ExitCode);
        }

        Project("..2026_01_01", _silos.Authority.IssueSite("north"));
        foreach (var file in new[] { TlsFiles.CertificateName, TlsFiles.KeyName, TlsFiles.AuthoritiesName })
            File.CreateSymbolicLink(Path.Combine(mount, file), Path.Combine("..data", file));
        var north = await _silos.StartAsync("north-a", "north");
        using var renewed = _silos.Authority.IssueSite("north");

        Project("..2026_01_31", renewed);
        Directory.Delete(Path.Combine(mount, "..2026_01_01"), recursive: true);
        await north.Log.UntilAsync("a new certificate is served");

        Assert.Equal(DenyList.Serial(renewed.SerialNumber),
            await TlsSilo.SerialAsync(north.SiloPort, _silos.Authority.IssueSite("south")));
        Assert.Equal(0, north.Log.Count("what was in force before stays"));
    }

    private Task TrustAsync(string silo, string authorities) =>
        File.WriteAllTextAsync(Path.Combine(_silos.FolderOf(silo), TlsFiles.AuthoritiesName), authorities);

    private async Task ReachesAsync(int round)
    {
        var began = Stopwatch.GetTimestamp();
        while (!_silos.Trainer.Trained.Any(trained => trained.Round == round - 1))
        {
            Assert.True(Stopwatch.GetElapsedTime(began) < TimeSpan.FromSeconds(40), $"round {round} is not reached");
            await Task.Delay(20);
        }
    }
}

/// <summary>The time, and what a test adds to it.</summary>
internal sealed class ShiftedTime : TimeProvider
{
    private long _ticks;

    public TimeSpan Shift
    {
        get => TimeSpan.FromTicks(Interlocked.Read(ref _ticks));
        set => Interlocked.Exchange(ref _ticks, value.Ticks);
    }

    public override DateTimeOffset GetUtcNow() => System.GetUtcNow() + Shift;
}
