using System.Net;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using FedRLora.Abstractions;
using FedRLora.Pki;
using FedRLora.Silo;
using FedRLora.Training.Tests;
using StackExchange.Redis;

namespace FedRLora.EndToEnd.Tests.Federation;

/// <summary>A Redis server that speaks TLS, lets one user in, and may ask for certificates.</summary>
public sealed class RedisTlsTests : IDisposable
{
    private static readonly string[] Users = ["--user", "silo", "on", ">sesame", "~*", "&*", "+@all", "--user", "default", "off"];
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("fedrlora-redis-tls-");

    public RedisTlsTests()
    {
        var now = TimeProvider.System.GetUtcNow();
        using var authority = Issuing.Authority("redis authority", now.AddMinutes(-5), now.AddDays(2));
        using var other = Issuing.Authority("another authority", now.AddMinutes(-5), now.AddDays(2));
        Write("ca.crt", authority.ExportCertificatePem());
        Write("other.crt", other.ExportCertificatePem());
        Pair("server", authority, ["redis.example"], IPAddress.Loopback);
        Pair("elsewhere", authority, ["elsewhere.example"], IPAddress.Parse("192.0.2.7"));
        Pair("client", authority, ["silo.example"], null);
        Pair("stranger", other, ["silo.example"], null);
        Pair("late", authority, ["redis.example"], IPAddress.Loopback, now.AddMinutes(-1));
    }

    public void Dispose() => _folder.Delete(recursive: true);

    [RedisFact]
    public async Task What_is_wrong_with_a_connection_is_said()
    {
        await using var redis = await StartAsync("server", "--tls-auth-clients", "no");
        await RedisMembership.RequireAsync(redis.Location, Environment(), default);

        await RefusedAsync(Environment() with { Authorities = "other.crt" }, "none of the authorities in FEDRLORA_REDIS_CA vouches for it");
        await RefusedAsync(Environment() with { Authorities = null }, "none of this machine's authorities vouches for it");
        await RefusedAsync(Environment() with { User = "nobody" }, "refuses the password");
        await RefusedAsync(Environment() with { Password = "tapioca" }, "refuses the password");
        await RefusedAsync(Environment() with { User = null }, "refuses the password");
        var plain = await Assert.ThrowsAsync<ClusterUnavailableException>(
            () => RedisMembership.RequireAsync(redis.Location with { Tls = false }, static _ => null, default));
        Assert.Contains("no Redis answers at redis://", plain.Message, StringComparison.Ordinal);

        async Task RefusedAsync(Variables variables, string why)
        {
            var refused = await Assert.ThrowsAsync<ClusterUnavailableException>(
                () => RedisMembership.RequireAsync(redis.Location, variables, default));
            Assert.Contains(why, refused.Message, StringComparison.Ordinal);
            Assert.DoesNotMatch("sesame|tapioca|\n", refused.Message);
        }
    }

    [RedisFact]
    public async Task A_certificate_that_ran_out_is_told_with_both_times()
    {
        await using var redis = await StartAsync("late", "--tls-auth-clients", "no");

        var refused = await Assert.ThrowsAsync<ClusterUnavailableException>(
            () => RedisMembership.RequireAsync(redis.Location, Environment(), default));

        Assert.Matches("it is valid from .+Z to .+Z, and this machine's clock says .+Z", refused.Message);
    }

    [RedisFact]
    public async Task Another_hosts_certificate_is_refused_although_its_authority_is_trusted()
    {
        await using var redis = await StartAsync("elsewhere", "--tls-auth-clients", "no");

        var refused = await Assert.ThrowsAsync<ClusterUnavailableException>(
            () => RedisMembership.RequireAsync(redis.Location, Environment(), default));

        Assert.Equal($"the certificate of Redis at {redis.Location} is not accepted: it is not for 127.0.0.1", refused.Message);
    }

    [RedisFact]
    public async Task A_server_that_asks_for_certificates_is_shown_one()
    {
        await using var redis = await StartAsync("server");
        await RedisMembership.RequireAsync(
            redis.Location, Environment() with { Certificate = "client.crt", Key = "client.key" }, default);

        var refused = await Assert.ThrowsAsync<ClusterUnavailableException>(
            () => RedisMembership.RequireAsync(redis.Location, Environment(), default));

        Assert.Contains("FEDRLORA_REDIS_CERT", refused.Message, StringComparison.Ordinal);
    }

    [RedisFact]
    public async Task Files_that_were_renewed_count_at_the_next_connection()
    {
        await using var redis = await StartAsync("server");
        var variables = Environment() with { Authorities = "given.crt", Certificate = "shown.crt", Key = "shown.key" };
        foreach (var (from, to) in new[] { ("other.crt", "given.crt"), ("stranger.crt", "shown.crt"), ("stranger.key", "shown.key") })
            File.Copy(In(from), In(to));
        var refusals = new List<string>();
        var options = RedisMembership.Configuration(redis.Location, variables, refusals.Add);
        await RefusedAsync();
        Assert.Contains(refusals, static one => one.Contains("vouches for it", StringComparison.Ordinal));

        File.Copy(In("ca.crt"), In("given.crt"), overwrite: true);
        await RefusedAsync(); // by Redis: a certificate of an authority that it does not know
        File.WriteAllText(In("shown.crt"), "half");
        await RefusedAsync(); // what was there is shown on
        foreach (var end in new[] { "key", "crt" }) File.Copy(In($"client.{end}"), In($"shown.{end}"), overwrite: true);

        await using var connected = await ConnectionMultiplexer.ConnectAsync(options);

        Task RefusedAsync() => Assert.ThrowsAsync<RedisConnectionException>(() => ConnectionMultiplexer.ConnectAsync(options));
    }

    [Fact]
    public async Task Files_that_cannot_be_used_are_named()
    {
        var location = new ClusterLocation.Redis("127.0.0.1", 1, 0) { Tls = true };

        await RefusedAsync(location, Environment() with { Authorities = "missing.crt" }, "FEDRLORA_REDIS_CA: ");
        await RefusedAsync(location, Environment() with { Authorities = "client.key" }, "holds no certificate");
        await RefusedAsync(location, Environment() with { Certificate = "client.crt" }, "FEDRLORA_REDIS_KEY is not set");
        await RefusedAsync(location, Environment() with { Certificate = "client.crt", Key = "server.key" }, "FEDRLORA_REDIS_CERT: ");
        await RefusedAsync(location with { Tls = false }, Environment(), "give --cluster rediss://");

        async Task RefusedAsync(ClusterLocation.Redis redis, Variables variables, string why) =>
            Assert.Contains(why, (await Assert.ThrowsAsync<BadInputException>(
                () => RedisMembership.RequireAsync(redis, variables, default))).Message, StringComparison.Ordinal);
    }

    [RedisFact]
    public async Task Silos_meet_over_TLS_as_a_user_of_the_servers_list()
    {
        using var tiny = new TinyFederation();
        await using var redis = await StartAsync("server");
        (string, string)[] environment =
        [
            .. new[]
            {
                RedisMembership.AuthoritiesVariable, RedisMembership.UserVariable, RedisMembership.PasswordVariable,
                RedisMembership.CertificateVariable, RedisMembership.KeyVariable,
            }.Select(name => (name, (Environment() with { Certificate = "client.crt", Key = "client.key" }).Of(name)!)),
        ];
        await using var one = Silo("north");
        await using var two = Silo("south");
        foreach (var silo in new[] { one, two })
            await silo.UntilAsync(() => silo.Output.Contains("serves", StringComparison.Ordinal), "a silo");

        Assert.DoesNotContain("sesame", one.Output + two.Output, StringComparison.Ordinal);

        RunningProgram Silo(string site) => RunningProgram.StartWith(environment, tiny.Root,
            ["silo", "--site", site, "--cluster", $"{redis.Location}", "--store", "cluster", .. new SiloPlace().Own]);
    }

    private Task<RedisServer> StartAsync(string pair, params string[] more) => RedisServer.StartTlsAsync(
        In($"{pair}.crt"), In($"{pair}.key"), In("ca.crt"), [.. Users, .. more]);

    private Variables Environment() => new(_folder.FullName, "ca.crt", "silo", "sesame", null, null);

    private void Pair(string name, X509Certificate2 authority, string[] names, IPAddress? address, DateTimeOffset? until = null)
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        using var leaf = Issuing.Leaf(authority, new PublicKey(key), names, address is null ? [] : [address],
            [CertificateUse.Server, CertificateUse.Client], authority.NotBefore, until ?? authority.NotAfter);
        Write($"{name}.crt", leaf.ExportCertificatePem());
        Write($"{name}.key", key.ExportPkcs8PrivateKeyPem());
    }

    private void Write(string name, string text) => File.WriteAllText(In(name), text + "\n");

    private string In(string name) => Path.Combine(_folder.FullName, name);

    private sealed record Variables(
        string Folder, string? Authorities, string? User, string? Password, string? Certificate, string? Key)
    {
        public static implicit operator Func<string, string?>(Variables variables) => variables.Of;

        public string? Of(string name) => name switch
        {
            RedisMembership.AuthoritiesVariable => In(Authorities),
            RedisMembership.CertificateVariable => In(Certificate),
            RedisMembership.KeyVariable => In(Key),
            RedisMembership.UserVariable => User,
            RedisMembership.PasswordVariable => Password,
            _ => null,
        };

        private string? In(string? file) => file is null ? null : Path.Combine(Folder, file);
    }
}
