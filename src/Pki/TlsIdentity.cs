using System.Net.Security;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using FedRLora.Abstractions;
using Microsoft.Extensions.Logging;

namespace FedRLora.Pki;

/// <summary>
/// The certificate that this process shows, and its judgement of others'. The files are read again by <see cref="Reload"/>; a part that
/// cannot be used (the pair of certificate and key, the authorities, the deny-list) leaves the one before in force, so that a pair that is
/// half written does not keep a revocation from counting.
/// </summary>
public sealed partial class TlsIdentity
{
    private readonly TlsFiles _files;
    private readonly TimeProvider _time;
    private readonly ILogger _log;
    private readonly Lock _reloading = new();
    private readonly Dictionary<string, string> _read = []; // digest of each part as it was last taken over
    private readonly Dictionary<string, string> _kept = []; // of a part that could not be used, the files when that was told
    private readonly bool _isPublic;
    private volatile TlsState _state;
    private volatile Shown? _shown;

    private TlsIdentity(TlsFiles files, string domain, TimeProvider time, ILogger log, bool isPublic)
    {
        (_files, Domain, _time, _log, _isPublic) = (files, domain, time, log, isPublic);
        Remember(); // before they are read: what changes meanwhile is looked at again
        var (roots, known) = ReadAuthorities();
        var (certificate, intermediates) = ReadPair();
        _state = new(certificate, intermediates, roots, known, ReadDenied() ?? DenyList.Empty);
    }

    /// <summary>The trust domain.</summary>
    public string Domain { get; }

    /// <summary>What counts now. A state that was replaced is not disposed of: connections may still use it.</summary>
    public TlsState Current => _state;

    /// <summary>What a handshake shows: the certificate with those that follow it in its file.</summary>
    public SslStreamCertificateContext Chain
    {
        get
        {
            var state = _state;
            if (_shown is { } shown && ReferenceEquals(shown.Certificate, state.Certificate)) return shown.Chain;
            var chain = SslStreamCertificateContext.Create(state.Certificate, [.. state.Intermediates], offline: true);
            _shown = new(state.Certificate, chain);
            return chain;
        }
    }

    /// <summary>What the certificate that is served says of this process.</summary>
    public SanNames Names => SanNames.Of(_state.Certificate, Domain);

    /// <summary>After <see cref="Reload"/> took something over.</summary>
    public event Action? Changed;

    /// <summary>Reads the files and makes sure that others will accept the certificate.</summary>
    /// <param name="files">The files.</param>
    /// <param name="domain">The trust domain.</param>
    /// <param name="uses">What it will be shown for.</param>
    /// <param name="time">The clock.</param>
    /// <param name="log">Where changes of the files are told.</param>
    /// <param name="isPublic">
    /// Whether those who are shown it trust other authorities, such as a browser's: then it has to be valid, whoever issued it.
    /// </param>
    /// <exception cref="BadInputException">A file cannot be used, or the certificate would be refused; the message says why.</exception>
    public static TlsIdentity Open(
        TlsFiles files, string domain, IReadOnlyList<CertificateUse> uses, TimeProvider time, ILogger log, bool isPublic = false)
    {
        RequireSecret(files.Key);
        var identity = new TlsIdentity(files, domain, time, log, isPublic);
        foreach (var use in uses)
        {
            if (identity.Refusal(identity._state.Certificate, identity._state.Intermediates, use, isPublic) is { } refusal)
                throw new BadInputException($"{files.Certificate}: others would refuse this certificate: {refusal}");
        }

        return identity;
    }

    /// <summary>Makes sure that the certificate holds sites.</summary>
    /// <exception cref="BadInputException">It does not hold all of them.</exception>
    public void RequireSites(IReadOnlyList<string> sites)
    {
        var held = Names.Sites;
        if (sites.FirstOrDefault(site => !held.Contains(site)) is { } missing)
            throw new BadInputException($"{_files.Certificate}: is not of site {missing}: it holds "
                + (held.Count == 0 ? $"no name of the form NAME.sites.{Domain}" : string.Join(", ", held))
                + $"; ask the authority for one with {SanNames.OfSite(missing, Domain)}, or give another --site or --trust-domain");
    }

    /// <summary>Why a peer's certificate is not accepted now, in one line; null where it is.</summary>
    /// <param name="certificate">The certificate.</param>
    /// <param name="sent">Intermediate certificates that the peer sent.</param>
    /// <param name="use">What the peer shows it for.</param>
    public string? Refusal(X509Certificate2 certificate, IEnumerable<X509Certificate2> sent, CertificateUse use) =>
        Refusal(certificate, sent, use, isPublic: false);

    private string? Refusal(X509Certificate2 certificate, IEnumerable<X509Certificate2> sent, CertificateUse use, bool isPublic)
    {
        var state = _state;
        if (state.Denied.Serials.Contains(DenyList.Serial(certificate.SerialNumber)))
            return $"its serial {certificate.SerialNumber} is revoked";
        if (SanNames.Of(certificate, Domain).Sites.FirstOrDefault(state.Denied.Sites.Contains) is { } site)
            return $"site {site} is revoked";
        using var chain = new X509Chain();
        chain.ChainPolicy = Policy(use);
        if (isPublic) chain.ChainPolicy.VerificationFlags |= X509VerificationFlags.AllowUnknownCertificateAuthority;
        chain.ChainPolicy.ExtraStore.AddRange(sent.ToArray());
        if (chain.Build(certificate)) return DeniedIn(state, chain);
        return Chains.Explain(chain, certificate, use, "it",
            $"none of the authorities in {_files.Authorities} issued it (its issuer is {certificate.Issuer})", _time.GetUtcNow());
    }

    /// <summary>Why others that trust what this process trusts would refuse its own certificate now; null where they would not.</summary>
    public string? OwnRefusal()
    {
        var state = _state;
        return Refusal(state.Certificate, state.Intermediates, CertificateUse.Server)
            ?? Refusal(state.Certificate, state.Intermediates, CertificateUse.Client);
    }

    /// <summary>Whether the deny-list names a certificate, by its serial or by a site of it.</summary>
    public bool IsDenied(X509Certificate2 certificate)
    {
        var denied = _state.Denied;
        return denied.Serials.Contains(DenyList.Serial(certificate.SerialNumber))
            || SanNames.Of(certificate, Domain).Sites.Any(denied.Sites.Contains);
    }

    /// <summary>How chains are judged: against our own authorities alone, by our own clock, for a use.</summary>
    public X509ChainPolicy Policy(CertificateUse use)
    {
        var state = _state;
        var policy = new X509ChainPolicy
        {
            TrustMode = X509ChainTrustMode.CustomRootTrust, RevocationMode = X509RevocationMode.NoCheck,
            VerificationTime = _time.GetUtcNow().UtcDateTime, VerificationTimeIgnored = false, DisableCertificateDownloads = true,
        };
        policy.CustomTrustStore.AddRange(state.Roots.ToArray());
        policy.ExtraStore.AddRange(state.Known.ToArray());
        policy.ApplicationPolicy.Add(Chains.UsageOf(use));
        return policy;
    }

    /// <summary>
    /// Takes over what has changed in the files, and says so; what cannot be used is told once and leaves the old in force.
    /// </summary>
    public void Reload()
    {
        var changed = false;
        lock (_reloading)
        {
            // the authorities first: a new pair may be of a new one
            changed |= Take(_files.Authorities, [_files.Authorities], () =>
            {
                var (roots, known) = ReadAuthorities();
                _state = _state with { Roots = roots, Known = known };
                LogAuthorities(_log, _files.Authorities, string.Join(", ", roots.Select(static root => root.Subject)));
            });
            changed |= Take(_files.Denied, [_files.Denied], () =>
            {
                var denied = ReadDenied() ?? throw new BadInputException($"{_files.Denied}: is gone; empty it to deny nobody");
                _state = _state with { Denied = denied };
                LogDenied(_log, _files.Denied, denied.Serials.Count, denied.Sites.Count);
            });
            changed |= Take(_files.Certificate, [_files.Certificate, _files.Key], () =>
            {
                var (certificate, intermediates) = ReadPair();
                RequireNoWorse(certificate, intermediates);
                _state = _state with { Certificate = certificate, Intermediates = intermediates };
                LogPair(_log, _files.Certificate, certificate.SerialNumber, Chains.Text(certificate.NotAfter));
            });
        }

        if (changed) Changed?.Invoke();
    }

    // One that names other sites, or that others would refuse, does not replace one that works.
    private void RequireNoWorse(X509Certificate2 certificate, IReadOnlyList<X509Certificate2> intermediates)
    {
        foreach (var use in Enum.GetValues<CertificateUse>())
        {
            if (Refusal(_state.Certificate, _state.Intermediates, use, _isPublic) is null
                && Refusal(certificate, intermediates, use, _isPublic) is { } refusal)
            {
                throw new BadInputException($"{_files.Certificate}: others would refuse this certificate: {refusal}");
            }
        }

        var lost = Names.Sites.Except(SanNames.Of(certificate, Domain).Sites).ToList();
        if (lost.Count > 0)
            throw new BadInputException($"{_files.Certificate}: is not of site {string.Join(", ", lost)} any more, which this silo serves");
    }

    private bool Take(string part, IReadOnlyList<string> files, Action read)
    {
        var digest = DigestOf(files);
        if (_read.GetValueOrDefault(part) == digest) return false;
        try
        {
            read();
            _read[part] = digest;
            return true;
        }
        catch (BadInputException e)
        {
            // Tried again at every look: whether a pair can be used depends on the authorities and on the clock too. Told once for each
            // change of a file: the line may hold the time.
            var told = DigestOf([_files.Authorities, _files.Denied, _files.Certificate, _files.Key]);
            if (_kept.GetValueOrDefault(part) != told) LogKept(_log, e.Message);
            _kept[part] = told;
            return false;
        }
    }

    private void Remember()
    {
        _read[_files.Authorities] = DigestOf([_files.Authorities]);
        _read[_files.Denied] = DigestOf([_files.Denied]);
        _read[_files.Certificate] = DigestOf([_files.Certificate, _files.Key]);
    }

    private sealed record Shown(X509Certificate2 Certificate, SslStreamCertificateContext Chain);

    private static string DigestOf(IReadOnlyList<string> files)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        foreach (var file in files)
        {
            try
            {
                hash.AppendData(SHA256.HashData(File.ReadAllBytes(file)));
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                hash.AppendData("missing"u8);
            }
        }

        return Convert.ToHexStringLower(hash.GetHashAndReset());
    }

    private (X509Certificate2 Certificate, IReadOnlyList<X509Certificate2> Intermediates) ReadPair()
    {
        var all = Bundles.Read(_files.Certificate, ReadText(_files.Certificate));
        var key = ReadText(_files.Key);
        try
        {
            using var pair = X509Certificate2.CreateFromPem(all[0].ExportCertificatePem(), key);
            // the key of a PEM file is of this object alone; TLS wants one that can be opened again
            return (X509CertificateLoader.LoadPkcs12(pair.Export(X509ContentType.Pkcs12), password: null), [.. all.Skip(1)]);
        }
        catch (Exception e) when (e is CryptographicException or ArgumentException)
        {
            throw new BadInputException(
                $"{_files.Key}: is not the unencrypted private key, in PEM, of the certificate {_files.Certificate}", e);
        }
    }

    private (IReadOnlyList<X509Certificate2> Roots, IReadOnlyList<X509Certificate2> Known) ReadAuthorities()
    {
        var text = ReadText(_files.Authorities);
        var roots = Bundles.Roots(_files.Authorities, text);
        return (roots, [.. Bundles.Read(_files.Authorities, text).Where(one => !Bundles.Holds(roots, one))]);
    }

    private DenyList? ReadDenied() => File.Exists(_files.Denied) ? DenyList.Parse(_files.Denied, ReadText(_files.Denied)) : null;

    private static string ReadText(string file)
    {
        try
        {
            return File.ReadAllText(file);
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            throw new BadInputException($"{file}: is missing", e);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new BadInputException($"{file}: cannot be read: {e.Message}", e);
        }
    }

    // A group may read it, as Kubernetes' fsGroup arranges; everybody may not.
    private static void RequireSecret(string key)
    {
        if (File.Exists(key) && (File.GetUnixFileMode(key) & (UnixFileMode.OtherRead | UnixFileMode.OtherWrite)) != UnixFileMode.None)
            throw new BadInputException($"{key}: everybody on this machine may read it; take their rights away with: chmod o= {key}");
    }

    private static string? DeniedIn(TlsState state, X509Chain chain) =>
        chain.ChainElements.Select(static element => element.Certificate)
            .FirstOrDefault(one => state.Denied.Serials.Contains(DenyList.Serial(one.SerialNumber))) is { } denied
            ? $"the authority {denied.Subject} that issued it is revoked"
            : null;

    [LoggerMessage(LogLevel.Information, "{File}: a new certificate is served, serial {Serial}, valid until {Until}")]
    private static partial void LogPair(ILogger log, string file, string serial, string until);

    [LoggerMessage(LogLevel.Information, "{File}: the authorities trusted now are {Authorities}")]
    private static partial void LogAuthorities(ILogger log, string file, string authorities);

    [LoggerMessage(LogLevel.Information, "{File}: {Serials} serials and {Sites} sites are denied now")]
    private static partial void LogDenied(ILogger log, string file, int serials, int sites);

    [LoggerMessage(LogLevel.Warning, "{Problem}; what was in force before stays")]
    private static partial void LogKept(ILogger log, string problem);
}
