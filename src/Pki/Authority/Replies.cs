using FedRLora.Abstractions;

namespace FedRLora.Pki.Authority;

/// <summary>Requests as they come, and what is sent back.</summary>
public static class Replies
{
    /// <summary>Whether a file holds a request rather than certificates.</summary>
    public static bool IsRequest(string file) =>
        PkiFiles.Read(file).Contains("-----BEGIN CERTIFICATE REQUEST-----", StringComparison.Ordinal);

    /// <summary>Reads a request for an authority.</summary>
    /// <exception cref="BadInputException">It cannot be read, or may not be granted.</exception>
    public static SigningRequest Read(string file, string domain) => SigningRequest.Parse(file, PkiFiles.Read(file), domain);

    /// <summary>Reads a request of whatever trust domain it names.</summary>
    /// <exception cref="BadInputException">It cannot be read, or may not be granted.</exception>
    public static (SigningRequest Request, string Domain) ReadAny(string file)
    {
        var text = PkiFiles.Read(file);
        var domain = SigningRequest.DomainOf(text) ?? SanNames.DefaultDomain;
        return (SigningRequest.Parse(file, text, domain), domain);
    }

    /// <summary>Issues a certificate and writes it with the authorities into a folder.</summary>
    /// <param name="folder">
    /// A folder without them, made where it is not there; the authorities may lie there as a command that was cut off has left them.
    /// </param>
    /// <param name="authority">The authority.</param>
    /// <param name="request">What was approved.</param>
    /// <param name="days">How long the certificate is valid.</param>
    /// <exception cref="BadInputException">The folder holds a reply already, or cannot be written.</exception>
    public static IssuedCertificate Write(string folder, AuthorityFolder authority, SigningRequest request, int days)
    {
        var files = TlsFiles.In(folder);
        PkiFiles.RequireAbsent(files.Certificate);
        var bundle = PkiFiles.Read(authority.Bundle);
        var isNew = !File.Exists(files.Authorities) || PkiFiles.Read(files.Authorities) != bundle;
        if (isNew)
        {
            PkiFiles.RequireAbsent(files.Authorities);
            PkiFiles.CreateFolder(folder);
            PkiFiles.Create(files.Authorities, bundle, PkiFiles.Public); // a folder that cannot be written shows here
        }

        try
        {
            var (certificate, record) = authority.Issue(request, days);
            PkiFiles.Create(files.Certificate, certificate, PkiFiles.Public);
            return record;
        }
        catch (BadInputException) when (isNew)
        {
            File.Delete(files.Authorities); // else the next try would find half a reply
            throw;
        }
    }
}
