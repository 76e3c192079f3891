using System.Security.Cryptography.X509Certificates;
using FedRLora.Abstractions;

namespace FedRLora.Pki.Authority;

/// <summary>
/// The folder of an authority: its root with the key, the bundle that is handed to everybody, an index of what it issued, and the
/// deny-list. What it writes is written beside and renamed, a line of the index added at its end, one process at a time; a step of several
/// files that was cut off is finished by the same command.
/// </summary>
public sealed partial class AuthorityFolder
{
    /// <summary>The environment variable with the passphrase of the root's key; without it the key is not encrypted.</summary>
    public const string PassphraseVariable = "FEDRLORA_PKI_PASSPHRASE";

    private const string RootName = "root.crt", RootKeyName = "root.key", NextName = "next.crt", NextKeyName = "next.key";
    private const string IndexName = "issued.jsonl", DomainName = "trust-domain", LockName = "lock";

    private readonly string _folder;
    private readonly string? _passphrase;
    private readonly TimeProvider _time;
    private readonly Action<string> _tell;

    private AuthorityFolder(string folder, string? passphrase, TimeProvider time, Action<string>? tell)
    {
        (_folder, _passphrase, _time, _tell) = (folder, passphrase, time, tell ?? Silent);
        Domain = SanNames.CheckDomain(In(DomainName), PkiFiles.Read(In(DomainName)).Trim());
    }

    /// <summary>The trust domain.</summary>
    public string Domain { get; }

    /// <summary>The bundle that sites trust.</summary>
    public string Bundle => In(TlsFiles.AuthoritiesName);

    /// <summary>The deny-list, to be handed to every silo; there is none before the first revocation.</summary>
    public string Denied => In(TlsFiles.DeniedName);

    /// <summary>Whether a folder is one of an authority.</summary>
    public static bool IsOne(string folder) => File.Exists(Path.Combine(folder, DomainName));

    /// <summary>Makes an authority.</summary>
    /// <param name="folder">A folder; made where it is not there.</param>
    /// <param name="domain">The trust domain.</param>
    /// <param name="years">How long its root is valid.</param>
    /// <param name="passphrase">Encrypts the key; null: it lies there as it is.</param>
    /// <param name="time">The clock.</param>
    /// <exception cref="BadInputException">There is one, or the folder cannot be used.</exception>
    public static AuthorityFolder Create(string folder, string domain, int years, string? passphrase, TimeProvider time)
    {
        SanNames.CheckDomain("--trust-domain", domain);
        foreach (var name in new[] { DomainName, RootName, RootKeyName, TlsFiles.AuthoritiesName, IndexName })
        {
            if (Path.Exists(Path.Combine(folder, name))) throw new BadInputException($"{folder}: {Found(folder, name)}");
        }

        PkiFiles.CreateFolder(folder);
        PkiFiles.RequirePrivate(folder);
        using var held = PkiFiles.Lock(Path.Combine(folder, LockName));
        using var root = NewRoot(domain, years, time);
        PkiFiles.Create(Path.Combine(folder, RootKeyName), KeyOf(root, passphrase), PkiFiles.Secret);
        PkiFiles.Create(Path.Combine(folder, RootName), Pem(root), PkiFiles.Public);
        PkiFiles.Create(Path.Combine(folder, TlsFiles.AuthoritiesName), Pem(root), PkiFiles.Public);
        PkiFiles.Create(Path.Combine(folder, IndexName), "", PkiFiles.Secret);
        PkiFiles.Create(Path.Combine(folder, DomainName), domain + "\n", PkiFiles.Public); // last: what it makes is one whole
        return new(folder, passphrase, time, tell: null);
    }

    /// <summary>Opens an authority.</summary>
    /// <param name="folder">Its folder.</param>
    /// <param name="passphrase">Opens the key, where that is encrypted.</param>
    /// <param name="time">The clock.</param>
    /// <param name="tell">Takes lines about what a command that was cut off has left and was passed over; null: they are lost.</param>
    /// <exception cref="BadInputException">The folder holds none, or others may look into it.</exception>
    public static AuthorityFolder Open(string folder, string? passphrase, TimeProvider time, Action<string>? tell = null)
    {
        if (!Directory.Exists(folder)) throw new BadInputException($"{folder}: there is no such folder");
        if (!IsOne(folder))
            throw new BadInputException($"{folder}: holds no authority; make one with: fedrlora pki init --folder {folder}");
        PkiFiles.RequirePrivate(folder);
        return new(folder, passphrase, time, tell);
    }

    /// <summary>What it issued, in order.</summary>
    public IReadOnlyList<IssuedCertificate> Issued() => [.. IssuedIndex.Read(In(IndexName), _tell)];

    /// <summary>What is revoked.</summary>
    public DenyList Revoked() => File.Exists(Denied) ? DenyList.Parse(Denied, PkiFiles.ReadList(Denied)) : DenyList.Empty;

    /// <summary>The roots of the bundle, in the order in which they were made.</summary>
    public IReadOnlyList<X509Certificate2> Roots() => Bundles.Roots(Bundle, PkiFiles.Read(Bundle));

    /// <summary>The root that issues.</summary>
    public X509Certificate2 Root() => IdentityFolder.ReadFirst(In(RootName));

    /// <summary>Issues a certificate and records it.</summary>
    /// <param name="request">What is asked for.</param>
    /// <param name="days">How long it is valid, at most until the root ends.</param>
    /// <returns>The certificate in PEM, and its record.</returns>
    /// <exception cref="BadInputException">The root is not valid now, or cannot be used, or a site is revoked.</exception>
    public (string Certificate, IssuedCertificate Record) Issue(SigningRequest request, int days)
    {
        using var held = PkiFiles.Lock(In(LockName));
        using var root = Signer(out _);
        var now = _time.GetUtcNow();
        var (begin, end) = (new DateTimeOffset(root.NotBefore).ToUniversalTime(), new DateTimeOffset(root.NotAfter).ToUniversalTime());
        if (now < begin || now >= end)
            throw new BadInputException($"{In(RootName)}: the authority is valid from {Chains.Text(begin)} to {Chains.Text(end)}, "
                + $"and this machine's clock says {Chains.Text(now)}");
        if (request.Names.Kind == CertificateKind.Site && request.Names.Holders.FirstOrDefault(Revoked().Sites.Contains) is { } site)
            throw new BadInputException($"{Denied}: site {site} is revoked; take its line away before it gets a certificate");
        var (from, until) = (Later(begin, now - Issuing.BeforeIssue), Earlier(end, now + TimeSpan.FromDays(days)));
        var names = request.Names;
        using var issued = Issuing.Leaf(root, request.Key, names.Dns(Domain), names.Addresses, names.Uses, from, until);
        var record = new IssuedCertificate
        {
            Serial = issued.SerialNumber, Names = request.Names.Dns(Domain),
            Addresses = [.. request.Names.Addresses.Select(static one => one.ToString())],
            From = new DateTimeOffset(issued.NotBefore).ToUniversalTime(), Until = new DateTimeOffset(issued.NotAfter).ToUniversalTime(),
            Request = request.Fingerprint, Authority = root.Subject,
        };
        _ = IssuedIndex.Read(In(IndexName), Silent).Count(); // with an index that was changed nothing is issued
        // recorded before it is handed out: what nobody knows of cannot be revoked
        IssuedIndex.Append(In(IndexName), record, _tell);
        return (Pem(issued), record);
    }

    /// <summary>Revokes a certificate by its serial number.</summary>
    /// <returns>What it holds; null where it was revoked before.</returns>
    /// <exception cref="BadInputException">This authority did not issue it.</exception>
    public IssuedCertificate? RevokeSerial(string serial)
    {
        using var held = PkiFiles.Lock(In(LockName));
        if (serial.Length == 0 || !serial.All(static c => char.IsAsciiHexDigit(c) || c == ':'))
            throw new BadInputException($"\"{BadInputException.Shown(serial)}\" is no serial number in hexadecimal digits");
        var plain = DenyList.Serial(serial);
        var found = IssuedIndex.Read(In(IndexName), _tell).FirstOrDefault(one => DenyList.Serial(one.Serial) == plain)
            ?? throw new BadInputException($"{In(IndexName)}: no certificate with the serial {plain} was issued here");
        if (Revoked().Serials.Contains(plain)) return null;
        Deny($"{plain} # {string.Join(", ", found.Names)}");
        return found;
    }

    /// <summary>
    /// Revokes all certificates of a site, those to come as well. The index is not asked: a site is kept out whatever state that is in.
    /// </summary>
    /// <returns>Whether it was not revoked before.</returns>
    public bool RevokeSite(string site)
    {
        using var held = PkiFiles.Lock(In(LockName));
        SanNames.CheckLabel("--site", site);
        if (Revoked().Sites.Contains(site)) return false;
        Deny($"site {site} #");
        return true;
    }

    /// <summary>How many certificates of each site are valid now, unless they are revoked.</summary>
    public IReadOnlyList<int> Valid(IReadOnlyList<string> sites)
    {
        var now = _time.GetUtcNow();
        var valid = Issued().Where(one => one.Until > now).ToList();
        return [.. sites.Select(site => valid.Count(one => one.Names.Contains(SanNames.OfSite(site, Domain))))];
    }

    private void Deny(string line)
    {
        var before = File.Exists(Denied) ? PkiFiles.ReadList(Denied) : "";
        if (before.Length > 0 && !before.EndsWith('\n')) before += "\n";
        var when = Chains.Text(_time.GetUtcNow());
        PkiFiles.Replace(Denied, $"{before}{line}{(line.EndsWith('#') ? "" : ",")} revoked {when}\n", PkiFiles.Public);
    }

    private string In(string name) => Path.Combine(_folder, name);

    private static string Found(string folder, string name)
    {
        if (IsOne(folder)) return $"holds an authority already ({name}); name another --folder";
        if (name is not (RootName or RootKeyName)) return $"holds {name} already; name another --folder";
        return new FileInfo(Path.Combine(folder, IndexName)) is { Exists: true, Length: > 0 }
            ? $"holds an authority without its {DomainName}; put that file back, or name another --folder"
            : $"holds {name} of an authority whose making was cut off; move the folder away, or name another --folder";
    }

    private static void Silent(string line)
    {
        // whoever asks does not hand it on
    }

    private static string Pem(X509Certificate2 certificate) => certificate.ExportCertificatePem() + "\n";

    private static DateTimeOffset Later(DateTimeOffset a, DateTimeOffset b) => a > b ? a : b;

    private static DateTimeOffset Earlier(DateTimeOffset a, DateTimeOffset b) => a < b ? a : b;
}
