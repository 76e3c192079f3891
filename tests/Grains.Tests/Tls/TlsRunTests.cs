using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using FedRLora.Abstractions.Messages;
using FedRLora.Pki;
using FedRLora.Silo.Tls;
using Xunit.Abstractions;

namespace FedRLora.Grains.Tests.Tls;

/// <summary>Runs of two sites over mutual TLS.</summary>
public sealed class TlsRunTests(ITestOutputHelper log)
{
    private static readonly string Plan = TestFederation.Plan(rounds: 3, site: static i => i % 2 == 0 ? "north" : "south");

    [Fact]
    public async Task Two_silos_over_mutual_TLS_make_the_run_that_one_without_it_makes()
    {
        await using var plain = await TestFederation.StartAsync(["north", "south"]);
        var expected = await plain.RunAsync("run", Plan, CancellationToken.None);
        await using var silos = new TlsSilos();
        var north = await silos.StartAsync("north-a", "north");
        var south = await silos.StartAsync("south-a", "south");

        var digest = await RunAsync(north, "run", Plan);

        log.WriteLine(string.Join('\n', north.Log.All.Concat(south.Log.All)));
        Assert.Equal(expected, digest);
        Assert.True(north.Open.Count > 0 && south.Open.Count > 0);
    }

    [Fact]
    public async Task Silos_send_the_authorities_between_their_own_certificate_and_the_root()
    {
        var (root, below) = TestAuthority.TwoSteps();
        await using var silos = new TlsSilos();
        var north = await silos.StartAsync("north-a", "north", settings => Below(settings, "north"));
        var south = await silos.StartAsync("south-a", "south", settings => Below(settings, "south"));

        await RunAsync(north, "run", Plan);

        Assert.Equal((0, 0), (north.Open.CloseRefused(), south.Open.CloseRefused())); // nor are they refused later
        Assert.True(north.Open.Count > 0 && south.Open.Count > 0);

        TlsSettings Below(TlsSettings settings, string site)
        {
            using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
            using var leaf = Issuing.Leaf(below, new PublicKey(key), [$"{site}.sites.fedrlora"], [],
                [CertificateUse.Server, CertificateUse.Client], TestAuthority.Now.AddMinutes(-5), TestAuthority.Now.AddDays(1));
            File.WriteAllText(settings.Files.Authorities, root);
            File.WriteAllText(settings.Files.Key, key.ExportPkcs8PrivateKeyPem());
            File.WriteAllText(settings.Files.Certificate, $"{leaf.ExportCertificatePem()}\n{below.ExportCertificatePem()}\n");
            return settings;
        }
    }

    internal static async Task<string> RunAsync(TlsSilo silo, string job, string plan)
    {
        await silo.Coordinator(job).SubmitAsync(plan, CancellationToken.None);
        while (true)
        {
            if (await silo.Coordinator(job).GetProgressAsync(-1, CancellationToken.None) is { Status: not JobStatus.Running } over)
            {
                Assert.True(over.Status == JobStatus.Finished, over.Reason);
                return over.NewRounds[^1].ManifestSha256;
            }

            await Task.Delay(20);
        }
    }
}
