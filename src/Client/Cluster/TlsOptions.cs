using System.CommandLine;
using FedRLora.Abstractions;
using FedRLora.Grains;
using FedRLora.Pki;
using FedRLora.Silo.Tls;
using Microsoft.Extensions.Logging.Abstractions;

namespace FedRLora.Client.Cluster;

/// <summary>The options that say who a silo is to others, and whom it believes.</summary>
internal sealed class TlsOptions
{
    private readonly Option<string?> _folder = new("--tls")
    {
        Description = $"The folder with this silo's certificate ({TlsFiles.CertificateName}, {TlsFiles.KeyName}, "
            + $"{TlsFiles.AuthoritiesName}), which holds its sites: silos then talk over mutual TLS alone",
    };

    private readonly Option<string?> _authorities = new("--tls-ca")
    {
        Description = $"The authorities that are trusted; by default {TlsFiles.AuthoritiesName} in the folder of --tls",
    };

    private readonly Option<string?> _denied = new("--tls-revoked")
    {
        Description = "Certificates and sites that are refused, one a line: a serial, or site NAME; "
            + $"by default {TlsFiles.DeniedName} in the folder of --tls",
    };

    private readonly Option<string?> _domain = new("--trust-domain")
    {
        Description = $"The domain of certificates' names, as NAME.sites.{SanNames.DefaultDomain}; by default {SanNames.DefaultDomain}",
    };

    /// <summary>All of them.</summary>
    public IEnumerable<Option> All => [_folder, _authorities, _denied, _domain];

    /// <summary>Reads and checks them: others will accept the certificate, and it is of all sites.</summary>
    /// <returns>The files, null without <c>--tls</c>, and the trust domain.</returns>
    /// <exception cref="BadInputException">They contradict one another, or a file cannot be used.</exception>
    public (TlsFiles? Files, string Domain) Read(ParseResult parsed, string name, IReadOnlyList<string> sites)
    {
        var domain = SanNames.CheckDomain("--trust-domain", parsed.GetValue(_domain) ?? SanNames.DefaultDomain);
        if (parsed.GetValue(_folder) is not { } folder)
        {
            Option[] others = [_authorities, _denied, _domain];
            return others.FirstOrDefault(option => parsed.GetResult(option) is not null) is { } lone
                ? throw new BadInputException($"{lone.Name} says nothing without --tls FOLDER, the certificate of this silo")
                : (null, domain);
        }

        if (sites.Contains(SiloIdentity.EverySite))
            throw new BadInputException("--site '*' and --tls exclude each other: a certificate is of sites by name; name them");
        foreach (var site in sites) SanNames.CheckLabel("--site", site);
        var files = TlsFiles.In(folder);
        files = files with
        {
            Authorities = parsed.GetValue(_authorities) ?? files.Authorities, Denied = parsed.GetValue(_denied) ?? files.Denied,
        };
        if (parsed.GetValue(_denied) is { } denied && !File.Exists(denied))
            throw new BadInputException($"--tls-revoked: {denied}: is missing; an empty file denies nobody");
        TlsBuilderExtensions.Open(new TlsSettings(files, domain, name, sites), TimeProvider.System, NullLogger.Instance);
        return (files, domain);
    }
}
