using System.Net;
using System.Net.Sockets;
using FedRLora.Abstractions;
using FedRLora.Client.Cluster;
using FedRLora.Pki;
using FedRLora.Silo;
using FedRLora.Training.Tests;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Options;
using Orleans.Configuration;
using SiloOptions = FedRLora.Silo.SiloOptions;

namespace FedRLora.EndToEnd.Tests.Federation;

/// <summary>Where a silo listens, and by which address others reach it.</summary>
public sealed class AddressTests
{
    private static readonly ClusterLocation Outside = ClusterLocation.Parse("rediss://hub.example");

    [Theory]
    [InlineData("10.0.0.7", "10.0.0.7")]
    [InlineData("0.0.0.0", "0.0.0.0")]
    [InlineData("::", "::")]
    [InlineData("fd00::7", "fd00::7")]
    [InlineData("::ffff:10.0.0.7", "10.0.0.7")]
    public void An_address_to_listen_on_is_read(string text, string expected) =>
        Assert.Equal(expected, AddressOptions.ParseListen(text).ToString());

    [Theory]
    [InlineData("hub.example")]
    [InlineData("1")]
    [InlineData("10.0.0")]
    [InlineData("10.0.0.7:11111")]
    [InlineData("224.0.0.1")]
    [InlineData("255.255.255.255")]
    [InlineData("ff02::1")]
    [InlineData("fe80::1")]
    public async Task What_nobody_can_listen_on_is_refused_in_one_line(string text)
    {
        var silo = await CommandLine.RunAsync("silo", "--site", "here", "--listen", text);

        Assert.Equal(2, silo.Code);
        Assert.Contains("--listen: ", Assert.Single(silo.ErrorLines), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("10.0.0.7", "0.0.0.0", "10.0.0.7")]
    [InlineData("10.0.0.7", "::", "10.0.0.7")]
    [InlineData("fd00::7", "::", "fd00::7")]
    [InlineData("203.0.113.9", "10.0.0.7", "203.0.113.9")] // behind a translation of addresses
    [InlineData("localhost", "127.0.0.1", "127.0.0.1")]
    public async Task An_address_for_others_is_read_or_looked_up(string text, string listen, string expected) =>
        Assert.Equal(IPAddress.Parse(expected), await AddressOptions.ResolveAsync(text, IPAddress.Parse(listen), default));

    [Theory]
    [InlineData("0.0.0.0", "0.0.0.0", "no address that silos could connect to")]
    [InlineData("127.0.0.1", "0.0.0.0", "is this machine alone")]
    [InlineData("localhost", "0.0.0.0", "is this machine alone")]
    [InlineData("10.0.0.7", "127.0.0.1", "give --listen too")]
    [InlineData("127.0.0.2", "127.0.0.1", "give --listen 127.0.0.2")]
    [InlineData("fd00::7", "10.0.0.7", "takes IPv4 alone")]
    [InlineData("fe80::1", "::", "link-local")]
    [InlineData("-x-", "10.0.0.7", "neither an IP address nor a host name")]
    [InlineData("10.0.7", "10.0.0.7", "neither an IP address nor a host name")]
    public async Task What_others_could_not_reach_is_refused(string text, string listen, string why) =>
        Assert.Contains(why, (await Assert.ThrowsAsync<BadInputException>(
            () => AddressOptions.ResolveAsync(text, IPAddress.Parse(listen), default))).Message, StringComparison.Ordinal);

    [Fact]
    public async Task A_name_that_leads_nowhere_is_the_environments_fault() =>
        Assert.Contains("--advertise: the name no-such-host.invalid ", (await Assert.ThrowsAsync<FedRLora.Client.EnvironmentException>(
            () => AddressOptions.ResolveAsync("no-such-host.invalid", IPAddress.Any, default))).Message, StringComparison.Ordinal);

    [Fact]
    public void Other_machines_need_certificates_a_membership_outside_and_an_address()
    {
        var files = TlsFiles.In("/tls");
        var open = Options() with { Listen = IPAddress.Parse("10.0.0.7"), Cluster = Outside, Tls = files };
        AddressOptions.Check(open);
        AddressOptions.Check(open with { Listen = IPAddress.Any, Advertise = IPAddress.Parse("10.0.0.7") });
        AddressOptions.Check(Options());

        Refused(open with { Tls = null }, "needs --tls");
        Refused(open with { Cluster = new ClusterLocation.Localhost() }, "--cluster redis://");
        Refused(open with { Listen = IPAddress.Any }, "--advertise");
        Refused(open with { Listen = IPAddress.IPv6Any }, "--advertise");

        static void Refused(SiloOptions options, string why) =>
            Assert.Contains(why, Assert.Throws<BadInputException>(() => AddressOptions.Check(options)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_silo_for_other_machines_without_certificates_does_not_start()
    {
        var silo = await CommandLine.RunAsync("silo", "--site", "here", "--listen", "10.0.0.7", "--cluster", "redis://hub.example");

        Assert.Equal((2, "--listen 10.0.0.7 lets other machines connect, which needs --tls: without certificates anybody could join\n"),
            (silo.Code, silo.Error));
    }

    [Fact]
    public void Orleans_is_told_every_address()
    {
        using var tiny = new TinyFederation();
        using var host = SiloHost.Create(Options() with
        {
            Root = tiny.Root, Store = Path.Combine(tiny.Root, "cluster"), Listen = IPAddress.Any, Advertise = IPAddress.Parse("10.0.0.7"),
            SiloPort = 15, GatewayPort = 16, Cluster = ClusterLocation.Parse("redis://127.0.0.1"),
        });
        var endpoints = host.Services.GetRequiredService<IOptions<EndpointOptions>>().Value;

        Assert.Equal((IPAddress.Parse("10.0.0.7"), 15, 16), (endpoints.AdvertisedIPAddress!, endpoints.SiloPort, endpoints.GatewayPort));
        Assert.Equal((new IPEndPoint(IPAddress.Any, 15), new IPEndPoint(IPAddress.Any, 16)),
            (endpoints.SiloListeningEndpoint!, endpoints.GatewayListeningEndpoint!));
    }

    [Fact]
    public void An_address_that_is_not_this_machines_is_said() =>
        Assert.Equal("--listen: 192.0.2.7 is no address of this machine", Assert.Throws<FedRLora.Client.EnvironmentException>(
            () => Loopback.RequireFree(new IPEndPoint(IPAddress.Parse("192.0.2.7"), 15_000), "")).Message);

    [Ipv6Fact]
    public async Task Two_silos_meet_over_IPv6_and_a_second_cluster_there_is_refused()
    {
        using var tiny = new TinyFederation();
        var place = new SiloPlace();
        await using var first = RunningProgram.Start(
            tiny.Root, ["silo", "--site", "north", "--store", "cluster", "--listen", "::1", .. place.Own]);
        await first.UntilAsync(() => first.Output.Contains("serves", StringComparison.Ordinal), "the first silo");
        await using var other = RunningProgram.Start(
            tiny.Root, ["silo", "--site", "south", "--store", "cluster", "--listen", "::1", .. new SiloPlace().Own]);
        await using var second = RunningProgram.Start(
            tiny.Root, ["silo", "--site", "south", "--store", "cluster", "--listen", "::1", .. place.Join]);
        await second.UntilAsync(() => second.Output.Contains("serves", StringComparison.Ordinal), "the second silo");
        var plan = TinyPlan.Write(tiny, 1, $"{TinyPlan.Client("a", "one", "north")}\n{TinyPlan.Client("b", "two", "south")}");
        await RunningProgram.RunAsync(tiny.Root, ["submit", plan, "--run", "six", .. place.To]);
        await RunningProgram.RunAsync(tiny.Root, ["watch", "six", .. place.To]);

        Assert.Equal(1, TinyPlan.Committed(tiny, "six")!.Round);
        Assert.Contains($"silo port {place.Silo} of ::1, ", first.Output, StringComparison.Ordinal);
        Assert.Equal(3, await other.ExitAsync());
        Assert.True(other.Output.Contains($"is in use by the cluster of silos [::1]:{place.Silo}", StringComparison.Ordinal), other.Output);
    }

    private static SiloOptions Options() => new()
    {
        Name = "here", Sites = ["here"], Root = "/", Store = "/cluster", SiloPort = SiloPorts.Silo, GatewayPort = SiloPorts.Gateway,
    };

    /// <summary>A test that needs IPv6 on loopback.</summary>
    [AttributeUsage(AttributeTargets.Method)]
    private sealed class Ipv6FactAttribute : FactAttribute
    {
        public Ipv6FactAttribute()
        {
            if (Environment.GetEnvironmentVariable("FEDRLORA_SOAK") != "1")
            {
                Skip = "takes a minute: set FEDRLORA_SOAK=1, as make soak does";
                return;
            }

            try
            {
                using var listener = new TcpListener(IPAddress.IPv6Loopback, 0);
                listener.Start();
            }
            catch (SocketException)
            {
                Skip = "this machine has no IPv6 on loopback";
            }
        }
    }
}
