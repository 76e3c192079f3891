using System.Globalization;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using FedRLora.Abstractions;

namespace FedRLora.Pki.Authority;

/// <content>The root that issues, and the steps to the next one.</content>
public sealed partial class AuthorityFolder
{
    private const int Iterations = 600_000; // of PBKDF2 with SHA-256, as OWASP's password storage page asks for

    /// <summary>
    /// The first step to a new root: makes it, and trusts it beside those that are trusted already, of which the old one goes on issuing.
    /// </summary>
    /// <returns>The new root.</returns>
    public X509Certificate2 MakeNext(int years)
    {
        using var held = PkiFiles.Lock(In(LockName));
        using var old = Signer(out var finished);
        if (finished) throw Finished();
        var next = Next();
        if (next is null)
        {
            next = NewRoot(Domain, years, _time);
            PkiFiles.Replace(In(NextKeyName), KeyOf(next, _passphrase), PkiFiles.Secret);
            PkiFiles.Create(In(NextName), Pem(next), PkiFiles.Public);
        }
        else
        {
            RequireNextKey(next);
            if (Bundles.Holds(Roots(), next))
                throw new BadInputException($"{In(NextName)}: there is a next root already; go on with --use-next");
        }

        var trusted = PkiFiles.Read(Bundle); // the last file: where the step was cut off, it is repeated from here
        PkiFiles.Replace(Bundle, $"{trusted}{(trusted.EndsWith('\n') ? "" : "\n")}{Pem(next)}", PkiFiles.Public);
        return next;
    }

    /// <summary>The second step: the new root issues from now on; the old one is still trusted.</summary>
    /// <exception cref="BadInputException">There is no new root, its key is not here, or nobody trusts it yet.</exception>
    public void UseNext()
    {
        using var held = PkiFiles.Lock(In(LockName));
        using var old = Signer(out var finished);
        if (finished) return;
        using var next = Next() ?? throw new BadInputException($"{_folder}: there is no next root; make one with --next");
        RequireNextKey(next);
        if (!Bundles.Holds(Roots(), next))
            throw new BadInputException($"{Bundle}: does not hold the root of {In(NextName)}: --next was cut off; give it again first");
        PkiFiles.Move(In(NextKeyName), In(RootKeyName)); // between the two renames Signer finishes what was begun
        PkiFiles.Move(In(NextName), In(RootName));
    }

    /// <summary>The third step: the new root alone is trusted.</summary>
    /// <returns>Certificates of the old one that are still valid, and will be refused.</returns>
    public IReadOnlyList<IssuedCertificate> DropOld()
    {
        using var held = PkiFiles.Lock(In(LockName));
        using var root = Signer(out var finished);
        if (finished) throw Finished();
        if (File.Exists(In(NextName)))
            throw new BadInputException($"{In(NextName)}: the next root does not issue yet; let it first with --use-next, and renew all");
        if (Roots().Count == 1) throw new BadInputException($"{Bundle}: one root alone is trusted already");
        var now = _time.GetUtcNow();
        // asked first: once the bundle is replaced, the step is not repeated
        List<IssuedCertificate> refused = [.. Issued().Where(one => one.Authority != root.Subject && one.Until > now)];
        PkiFiles.Replace(Bundle, Pem(root), PkiFiles.Public);
        return refused;
    }

    /// <summary>The root that issues, with its key.</summary>
    /// <param name="finished">Whether <see cref="UseNext"/> was cut off between its two renames, and is finished now.</param>
    private X509Certificate2 Signer(out bool finished)
    {
        PkiFiles.RequireSecret(In(RootKeyName));
        using var key = ReadKey(In(RootKeyName));
        using var root = Root();
        finished = false;
        if (Fits(root, key))
        {
            RequireTrusted(In(RootName), root);
            return root.CopyWithPrivateKey(key);
        }

        using var next = File.Exists(In(NextKeyName)) ? null : Next();
        if (next is null || !Fits(next, key)) throw new BadInputException($"{In(RootKeyName)}: is not the key of {In(RootName)}");
        RequireTrusted(In(NextName), next);
        PkiFiles.Move(In(NextName), In(RootName));
        finished = true;
        return next.CopyWithPrivateKey(key);
    }

    private X509Certificate2? Next() => File.Exists(In(NextName)) ? IdentityFolder.ReadFirst(In(NextName)) : null;

    private BadInputException Finished() =>
        new($"{In(RootName)}: --use-next was cut off and is finished now: renew every certificate, then give --drop-old");

    private void RequireTrusted(string file, X509Certificate2 root)
    {
        if (!Bundles.Holds(Roots(), root))
            throw new BadInputException($"{Bundle}: does not hold the root of {file}, so that nobody would trust what it issues; "
                + "add that file's text to it, and hand it out");
    }

    // a root without its key would take the place of one that has it
    private void RequireNextKey(X509Certificate2 next)
    {
        if (!File.Exists(In(NextKeyName)))
            throw new BadInputException($"{In(NextKeyName)}: is missing; move {In(NextName)} away and give --next again");
        PkiFiles.RequireSecret(In(NextKeyName));
        using var key = ReadKey(In(NextKeyName));
        if (!Fits(next, key))
            throw new BadInputException($"{In(NextKeyName)}: is not the key of {In(NextName)}; move both away and give --next again");
    }

    private ECDsa ReadKey(string file)
    {
        var text = PkiFiles.Read(file);
        var encrypted = text.Contains("BEGIN ENCRYPTED", StringComparison.Ordinal);
        if (encrypted && _passphrase is null)
            throw new BadInputException($"{file}: is encrypted; give its passphrase by {PassphraseVariable}");
        var key = ECDsa.Create();
        try
        {
            if (encrypted) key.ImportFromEncryptedPem(text, _passphrase);
            else key.ImportFromPem(text);
            return key;
        }
        catch (Exception e) when (e is CryptographicException or ArgumentException)
        {
            key.Dispose();
            throw new BadInputException(encrypted
                ? $"{file}: the passphrase in {PassphraseVariable} does not open it, or it is no ECDSA key"
                : $"{file}: is no ECDSA key in PEM", e);
        }
    }

    private static X509Certificate2 NewRoot(string domain, int years, TimeProvider time)
    {
        var now = time.GetUtcNow();
        // a name of its own: two roots of one name could not be told apart in a chain
        var mark = Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(3));
        var name = domain.Length <= 32 ? domain : domain[..32];
        return Issuing.Authority($"{name} authority {now.UtcDateTime.ToString("yyyy-MM-dd", CultureInfo.InvariantCulture)} {mark}",
            now - Issuing.BeforeIssue, now.AddYears(years));
    }

    private static string KeyOf(X509Certificate2 root, string? passphrase)
    {
        using var key = root.GetECDsaPrivateKey()!;
        return (passphrase is null
            ? key.ExportPkcs8PrivateKeyPem()
            : key.ExportEncryptedPkcs8PrivateKeyPem(passphrase,
                new PbeParameters(PbeEncryptionAlgorithm.Aes256Cbc, HashAlgorithmName.SHA256, Iterations))) + "\n";
    }

    private static bool Fits(X509Certificate2 root, ECDsa key)
    {
        using var held = root.GetECDsaPublicKey();
        return held is not null && held.ExportSubjectPublicKeyInfo().AsSpan().SequenceEqual(key.ExportSubjectPublicKeyInfo());
    }
}
