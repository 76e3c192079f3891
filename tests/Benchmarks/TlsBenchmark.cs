using System.Globalization;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using FedRLora.Abstractions.Plans;
using FedRLora.Pki;

namespace FedRLora.Benchmarks;

/// <summary>
/// The same run of two silos on loopback without TLS and with mutual TLS, in turn, each in a process of its own. Updates lie in the
/// store, so that what crosses the connections is what the silos say to one another.
/// </summary>
internal static class TlsBenchmark
{
    private const int Pairs = 4;
    private const int Clients = 1_000;
    private const int Bytes = 4_000;

    /// <param name="args">Nothing, or <c>one plain</c> or <c>one tls</c>.</param>
    public static async Task RunAsync(string[] args)
    {
        if (args is ["one", var way])
        {
            await RunOneAsync(way == "tls");
            return;
        }

        List<RoundBenchmark.Result> plain = [], tls = [];
        for (var i = 0; i < Pairs; i++)
        {
            plain.Add(RoundBenchmark.Result.Of(await ChildProcess.RunAsync(["tls", "one", "plain"])));
            tls.Add(RoundBenchmark.Result.Of(await ChildProcess.RunAsync(["tls", "one", "tls"])));
        }

        Console.WriteLine("| | without TLS | mutual TLS | with / without, of pairs (lowest to highest) |\n| --- | ---: | ---: | ---: |");
        Row("start of two silos, s", static result => result.StartSeconds);
        Row("round, s", static result => RoundBenchmark.Median(result.Seconds));
        Row("processor time of a round, s", static result => result.ProcessorSeconds);
        Row("allocated in a round, MB", static result => result.AllocatedMegabytes);
        Row("most memory of the process, MB", static result => result.ResidentMegabytes);
        Console.WriteLine(plain.Concat(tls).Select(static result => result.Digest).Distinct().Count() == 1
            ? "The digests are equal." : "THE DIGESTS DIFFER.");

        void Row(string name, Func<RoundBenchmark.Result, double> value)
        {
            var ratios = plain.Zip(tls, (without, with) => value(with) / value(without)).ToArray();
            Console.WriteLine(string.Create(CultureInfo.InvariantCulture,
                $"| {name} | {RoundBenchmark.Median([.. plain.Select(value)]):F3} | {RoundBenchmark.Median([.. tls.Select(value)]):F3} | "
                    + $"{RoundBenchmark.Median(ratios):F2} ({ratios.Min():F2} to {ratios.Max():F2}) |"));
        }
    }

    private static async Task RunOneAsync(bool tls)
    {
        var folder = Directory.CreateTempSubdirectory("fedrlora-bench-").FullName;
        try
        {
            var result = await RoundBenchmark.RunAsync(
                folder, Clients, Bytes, sockets: true, Durability.Fast, isLive: false, isOwn: false, tls ? Certify(folder) : null);
            Console.Write(result.Line);
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    // One certificate of both sites: what a connection costs does not depend on whose it is.
    private static TlsFiles Certify(string folder)
    {
        var (now, files) = (TimeProvider.System.GetUtcNow(), TlsFiles.In(Directory.CreateDirectory(Path.Combine(folder, "tls")).FullName));
        using var authority = Issuing.Authority("bench", now - Issuing.BeforeIssue, now + Issuing.LeafLifetime);
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        using var leaf = Issuing.Leaf(authority, new PublicKey(key),
            [SanNames.OfSite("hub", SanNames.DefaultDomain), SanNames.OfSite("edge", SanNames.DefaultDomain)], [],
            [CertificateUse.Server, CertificateUse.Client], now - Issuing.BeforeIssue, now + TimeSpan.FromDays(1));
        File.WriteAllText(files.Authorities, authority.ExportCertificatePem());
        File.WriteAllText(files.Certificate, leaf.ExportCertificatePem());
        File.WriteAllText(files.Key, key.ExportPkcs8PrivateKeyPem());
        File.SetUnixFileMode(files.Key, UnixFileMode.UserRead | UnixFileMode.UserWrite);
        return files;
    }
}
