using FedRLora.Pki;
using FedRLora.Training.Tests;

namespace FedRLora.EndToEnd.Tests.Tls;

/// <summary>What a silo is told about certificates, checked before it listens.</summary>
public sealed class TlsOptionTests
{
    [Fact]
    public async Task Options_that_contradict_one_another_and_certificates_of_others_are_one_line_and_exit_2()
    {
        using var folder = new TemporaryFolder();
        var tls = Write(folder.Root, "north", TimeProvider.System.GetUtcNow());
        var late = Write(Path.Combine(folder.Root, "late"), "north", TimeProvider.System.GetUtcNow() - TimeSpan.FromDays(90));
        (string[] Args, string Part)[] cases =
        [
            (["--site", "north", "--tls-ca", "ca.crt"], "--tls-ca says nothing without --tls FOLDER"),
            (["--site", "north", "--trust-domain", "Study"], "--trust-domain: \"Study\" is no trust domain"),
            (["--site", "*", "--tls", tls], "--site '*' and --tls exclude each other"),
            (["--site", "north_1", "--tls", tls], "--site: \"north_1\" cannot stand in a certificate"),
            (["--site", "south", "--tls", tls], "is not of site south: it holds north"),
            (["--site", "north", "--tls", tls, "--trust-domain", "study.example.org"], "no name of the form NAME.sites.study.example.org"),
            (["--site", "north", "--tls", late], "others would refuse this certificate: it is valid from"),
            (["--site", "north", "--tls", Path.Combine(folder.Root, "nothing")], "ca.crt: is missing"),
            (["--site", "north", "--tls", tls, "--tls-revoked", Path.Combine(folder.Root, "none.txt")], "--tls-revoked: "),
        ];
        foreach (var (args, part) in cases)
        {
            var result = await CommandLine.RunAsync(["silo", .. args]);

            Assert.True(result.Code == 2, $"{string.Join(' ', args)}: {result.Code} {result.Error}");
            Assert.Contains(part, Assert.Single(result.ErrorLines), StringComparison.Ordinal);
        }
    }

    private static string Write(string folder, string site, DateTimeOffset from)
    {
        using var authority = Issuing.Authority("test", from, from + TimeSpan.FromDays(60));
        SiteCertificate.Write(folder, authority, site, from, from + Issuing.LeafLifetime);
        return folder;
    }
}
