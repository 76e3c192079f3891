using System.Formats.Asn1;
using System.Net;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using FedRLora.Abstractions;
using FedRLora.Pki.Authority;

namespace FedRLora.EndToEnd.Tests.Pki;

/// <summary>What an authority grants, and what it refuses, in requests that somebody hostile may have made.</summary>
public sealed class SigningRequestTests
{
    private const string Domain = "study.example.org";

    [Theory]
    [InlineData("north.sites.study.example.org", "site north")]
    [InlineData("south.sites.study.example.org north.sites.study.example.org hub.example.org",
        "site north, site south; hosts hub.example.org")]
    [InlineData("ann.operators.study.example.org", "operator ann")]
    [InlineData("bob.viewers.study.example.org", "viewer bob")]
    public void Names_of_one_kind_are_granted(string names, string expected) =>
        Assert.Equal(expected, Parse(Request(names.Split(' '))).Names.ToString());

    [Theory]
    [InlineData("", "names no site and no person")]
    [InlineData("hub.example.org", "names no site and no person")]
    [InlineData("*.sites.study.example.org", "is a wildcard")]
    [InlineData("north.sites.study.example.org *.example.org", "is a wildcard")]
    [InlineData("north.sites.fedrlora", "belongs to the trust domain fedrlora")]
    [InlineData("north.sites.study.example.org south.sites.example.org", "belongs to the trust domain example.org")]
    [InlineData("north.sites.study.example.org ann.operators.study.example.org", "for site and operator at once")]
    [InlineData("ann.operators.study.example.org bob.operators.study.example.org", "one name and no host")]
    [InlineData("ann.operators.study.example.org hub.example.org", "one name and no host")]
    [InlineData("north.sites.study.example.org study.example.org", "names neither a site nor a person")]
    [InlineData("north.sites.study.example.org a.b.sites.study.example.org", "names neither a site nor a person")]
    [InlineData("north.sites.study.example.org x.admins.study.example.org", "names neither a site nor a person")]
    [InlineData("North.sites.study.example.org", "no DNS name in lower case")]
    [InlineData("north.sites.study.example.org 10.0.0.7", "no DNS name in lower case")]
    [InlineData("north.sites.study.example.org 0x7f.1", "no DNS name in lower case")]
    [InlineData("north.sites.study.example.org a_b.example.org", "no DNS name in lower case")]
    [InlineData("north.sites.study.example.org -a.example.org", "no DNS name in lower case")]
    public void Other_names_are_refused(string names, string why) =>
        Refused(Request(names.Split(' ', StringSplitOptions.RemoveEmptyEntries)), why);

    [Theory]
    [InlineData("0.0.0.0")]
    [InlineData("::")]
    [InlineData("224.0.0.1")]
    [InlineData("255.255.255.255")]
    [InlineData("::ffff:10.0.0.7")]
    public void Addresses_of_no_single_host_are_refused(string address) =>
        Refused(Request(["north.sites.study.example.org"], held => held.AddIpAddress(IPAddress.Parse(address))), "of one host");

    [Fact]
    public void Names_of_other_kinds_are_refused_instead_of_being_passed_over()
    {
        string[] names = ["north.sites.study.example.org"];

        Refused(Request(names, static held => held.AddUri(new Uri("spiffe://study/north"))), "neither a DNS name nor an IP address");
        Refused(Request(names, static held => held.AddEmailAddress("a@example.org")), "neither a DNS name nor an IP address");
        Refused(Request(names, static held => held.AddUserPrincipalName("a@example.org")), "neither a DNS name nor an IP address");
        var writer = new AsnWriter(AsnEncodingRules.DER);
        using (writer.PushSequence()) writer.WriteOctetString([10, 0, 0], new Asn1Tag(TagClass.ContextSpecific, 7));
        // whichever of framework and program sees it first
        Refused(Request(new X509Extension("2.5.29.17", writer.Encode(), critical: false)), "");
        Refused(Request(new X509Extension("2.5.29.17", [0x30, 0x05, 0x82], critical: false)), "");
    }

    [Fact]
    public void Who_asks_to_be_an_authority_or_for_no_names_is_refused()
    {
        var held = new SubjectAlternativeNameBuilder();
        held.AddDnsName("north.sites.study.example.org");

        Refused(Request(held.Build(), X509BasicConstraintsExtension.CreateForCertificateAuthority()), "to be an authority itself");
        Refused(Request(), "asks for no name");
    }

    [Fact]
    public void More_names_than_a_person_could_compare_are_refused() => Refused(
        Request(["north.sites.study.example.org", .. Enumerable.Range(0, 64).Select(static i => $"h{i}.example.org")]),
        "more than 64 names");

    [Fact]
    public void Weak_keys_are_refused()
    {
        using var small = RSA.Create(1024);
        using var large = RSA.Create(2048);

        Refused(Of(small), "not strong enough");
        Assert.Equal("RSA 2048", Parse(Of(large)).KeyName);
        using var p384 = ECDsa.Create(ECCurve.NamedCurves.nistP384);
        using var p521 = ECDsa.Create(ECCurve.NamedCurves.nistP521);
        Assert.Equal(("ECDSA P-384", "ECDSA P-521"), (Parse(Of(p384)).KeyName, Parse(Of(p521)).KeyName));

        using var other = ECDsa.Create(ECCurve.NamedCurves.brainpoolP256r1);
        Refused(Of(other), "not strong enough");

        static string Of(AsymmetricAlgorithm key) =>
            SigningRequest.Make(key, CertificateNames.Of(CertificateKind.Site, ["north"], [], Domain), Domain);
    }

    [Fact]
    public void A_request_that_was_changed_on_its_way_is_refused()
    {
        var text = Request(["north.sites.study.example.org"]);
        var bytes = Convert.FromBase64String(text[PemEncoding.Find(text).Base64Data]);
        var at = bytes.AsSpan().IndexOf("north"u8);
        "south"u8.CopyTo(bytes.AsSpan(at));

        Refused(PemEncoding.WriteString("CERTIFICATE REQUEST", bytes), "signature does not hold");
        Refused(text + text, "several requests");
        Refused("-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n", "is no request");
        Refused("north", "holds no request in PEM");
    }

    [Fact]
    public void A_request_may_have_the_line_ends_of_another_system_and_its_fingerprint_is_that_of_its_bytes()
    {
        var text = Request(["north.sites.study.example.org"]);

        var (plain, other) = (Parse(text), Parse("north's request\r\n" + text.ReplaceLineEndings("\r\n")));

        Assert.Equal(plain.Fingerprint, other.Fingerprint);
        Assert.Equal(plain.Fingerprint, Fingerprints.Digits(plain.Shown.ToUpperInvariant()));
        Assert.NotEqual(plain.Fingerprint, Parse(Request(["north.sites.study.example.org"])).Fingerprint); // another key
    }

    private static SigningRequest Parse(string text) => SigningRequest.Parse("request.csr", text, Domain);

    private static void Refused(string text, string why)
    {
        var message = Assert.Throws<BadInputException>(() => Parse(text)).Message;
        Assert.StartsWith("request.csr: ", message, StringComparison.Ordinal);
        Assert.Contains(why, message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', message);
    }

    private static string Request(IReadOnlyList<string> names, Action<SubjectAlternativeNameBuilder>? more = null)
    {
        var held = new SubjectAlternativeNameBuilder();
        foreach (var name in names) held.AddDnsName(name);
        more?.Invoke(held);
        return Request(held.Build());
    }

    private static string Request(params X509Extension[] extensions)
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var request = new CertificateRequest("CN=north.sites.study.example.org", key, HashAlgorithmName.SHA256);
        foreach (var extension in extensions) request.CertificateExtensions.Add(extension);
        return request.CreateSigningRequestPem() + "\n";
    }
}
