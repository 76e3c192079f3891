using System.Net.Security;
using System.Security.Authentication;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using FedRLora.Abstractions;
using FedRLora.Pki;
using Microsoft.Extensions.Logging.Abstractions;

namespace FedRLora.Client.Control;

/// <summary>Which servers are trusted over https, and the certificate that is shown to them.</summary>
internal sealed class ServerTrust
{
    private readonly string? _file;
    private readonly X509Certificate2Collection _roots;
    private readonly TlsIdentity? _own;

    private ServerTrust(string? file, X509Certificate2Collection roots, TlsIdentity? own) => (_file, _roots, _own) = (file, roots, own);

    /// <summary>The machine's authorities, and no certificate.</summary>
    public static ServerTrust OfMachine { get; } = new(file: null, [], own: null);

    /// <summary>What is shown; null for no certificate.</summary>
    public string? Shown { get; private init; }

    /// <summary>The same servers, to whom nothing is shown.</summary>
    public ServerTrust Unshown => new(_file, _roots, own: null);

    /// <summary>Reads what was named.</summary>
    /// <param name="ca">A file with the authorities; null for those of the folder, or of the machine.</param>
    /// <param name="folder">A folder with a certificate to show; null for none.</param>
    /// <exception cref="BadInputException">A file cannot be used.</exception>
    public static ServerTrust Open(string? ca, string? folder)
    {
        if (folder is null) return ca is null ? OfMachine : new(ca, Read(ca), own: null);
        var files = TlsFiles.In(folder);
        files = files with { Authorities = ca ?? files.Authorities };
        var own = TlsIdentity.Open(files, SanNames.DefaultDomain, [CertificateUse.Client], TimeProvider.System, NullLogger.Instance);
        return new(files.Authorities, [.. own.Current.Roots, .. own.Current.Known], own) { Shown = files.Certificate };
    }

    /// <summary>How connections to a host are made.</summary>
    /// <param name="refused">Called with why its certificate is not accepted, in one line.</param>
    public SslClientAuthenticationOptions Options(Action<string> refused) => new()
    {
        EnabledSslProtocols = SslProtocols.Tls12 | SslProtocols.Tls13, AllowTlsResume = false,
        CertificateRevocationCheckMode = X509RevocationMode.NoCheck,
        ClientCertificateContext = _own is null ? null
            : SslStreamCertificateContext.Create(_own.Current.Certificate, [.. _own.Current.Intermediates], offline: true),
        RemoteCertificateValidationCallback = (_, certificate, chain, errors) =>
        {
            if (Refusal(certificate as X509Certificate2, chain, errors) is not { } refusal) return true;
            refused(refusal);
            return false;
        },
    };

    private string? Refusal(X509Certificate2? certificate, X509Chain? sent, SslPolicyErrors errors)
    {
        if (certificate is null) return "it shows no certificate";
        using var chain = new X509Chain();
        chain.ChainPolicy.RevocationMode = X509RevocationMode.NoCheck;
        chain.ChainPolicy.DisableCertificateDownloads = true;
        chain.ChainPolicy.ApplicationPolicy.Add(Chains.UsageOf(CertificateUse.Server));
        if (sent is not null) chain.ChainPolicy.ExtraStore.AddRange(sent.ChainPolicy.ExtraStore);
        if (_file is not null)
        {
            chain.ChainPolicy.TrustMode = X509ChainTrustMode.CustomRootTrust;
            chain.ChainPolicy.CustomTrustStore.AddRange(_roots);
        }

        if (!chain.Build(certificate))
        {
            return Chains.Explain(chain, certificate, CertificateUse.Server, "its certificate",
                $"its certificate is issued by {BadInputException.Shown(certificate.Issuer)}, which is none of the authorities "
                + (_file is null ? "of this machine; name its own with --ca FILE" : $"in {_file}"), TimeProvider.System.GetUtcNow());
        }

        if (_own?.Refusal(certificate, chain.ChainPolicy.ExtraStore, CertificateUse.Server) is { } denied)
            return $"its certificate is refused: {denied}";
        return errors.HasFlag(SslPolicyErrors.RemoteCertificateNameMismatch)
            ? $"its certificate is of {Names(certificate)}, not of that name; name the server as its certificate does"
            : null;
    }

    private static string Names(X509Certificate2 certificate)
    {
        var held = certificate.Extensions.OfType<X509SubjectAlternativeNameExtension>().ToList();
        string[] names =
        [
            .. held.SelectMany(static extension => extension.EnumerateDnsNames()),
            .. held.SelectMany(static extension => extension.EnumerateIPAddresses()).Select(static address => $"{address}"),
        ];
        return names.Length == 0 ? "nobody" : BadInputException.Shown(string.Join(", ", names));
    }

    private static X509Certificate2Collection Read(string file)
    {
        var all = new X509Certificate2Collection();
        try
        {
            all.ImportFromPemFile(file);
        }
        catch (CryptographicException e)
        {
            throw new BadInputException($"--ca: {file}: a certificate in it cannot be read: {e.Message}", e);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new BadInputException($"--ca: {file}: cannot be read: {e.Message}", e);
        }

        return all.Count > 0 ? all
            : throw new BadInputException($"--ca: {file}: holds no certificate in PEM (-----BEGIN CERTIFICATE-----)");
    }
}
