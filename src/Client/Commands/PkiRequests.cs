using System.CommandLine;
using System.Security.Cryptography.X509Certificates;
using FedRLora.Abstractions;
using FedRLora.ControlPlane.Views;
using FedRLora.Pki;
using FedRLora.Pki.Authority;

namespace FedRLora.Client.Commands;

/// <summary>The way of a certificate: asked for where its key is, approved by the authority, put into its place.</summary>
internal static class PkiRequests
{
    public static Command Request()
    {
        var site = new Option<string[]>("--site") { Description = "The site of a silo; repeat it for a silo of several" };
        var person = new Option<string?>("--operator") { Description = "A person who steers runs" };
        var viewer = new Option<string?>("--viewer") { Description = "A person who sees runs" };
        var host = new Option<string[]>("--host")
        {
            Description = "A host name or IP address by which a silo's control plane is reached; repeat it",
        };
        var domain = new Option<string>("--trust-domain")
        {
            Description = "The authority's trust domain", DefaultValueFactory = static _ => SanNames.DefaultDomain,
        };
        var folder = new Option<string>("--out") { Description = "The folder of the key, made where it is not there", Required = true };
        var command = new Command("request", "Make a key, which stays here, and a request for its certificate")
        {
            site, person, viewer, host, domain, folder,
        };
        command.SetAction(async (parsed, _) =>
        {
            var sites = parsed.GetValue(site) ?? [];
            var wanted = new[]
            {
                (Kind: CertificateKind.Site, Names: (IReadOnlyList<string>)sites),
                (CertificateKind.Operator, parsed.GetValue(person) is { } one ? [one] : []),
                (CertificateKind.Viewer, parsed.GetValue(viewer) is { } other ? [other] : []),
            }.Where(static each => each.Names.Count > 0).ToList();
            if (wanted.Count != 1) throw new BadInputException("a certificate is for one of --site, --operator and --viewer; give one");
            var trusted = SanNames.CheckDomain("--trust-domain", parsed.GetRequiredValue(domain));
            var names = CertificateNames.Of(wanted[0].Kind, wanted[0].Names, parsed.GetValue(host) ?? [], trusted);
            var place = parsed.GetRequiredValue(folder);
            await SayAsync(parsed.InvocationConfiguration.Output, place, IdentityFolder.Request(place, names, trusted));
            return ExitCode.Done;
        });
        return command;
    }

    public static Command Approve()
    {
        var file = new Argument<string>("request") { Description = "The request, a file that fedrlora pki request made" };
        var folder = PkiCommand.Folder();
        var reply = new Option<string?>("--out")
        {
            Description = "The folder of what is sent back; by default approved, beside the request",
        };
        var days = SharedOptions.Number("--days", "How long the certificate is valid; by default 30", 1, 825);
        var fingerprint = new Option<string?>("--fingerprint")
        {
            Description = "The fingerprint that the requester told you, which has to fit",
        };
        var yes = new Option<bool>("--yes") { Description = "Approve without comparing the fingerprint" };
        var command = new Command("approve", "Issue the certificate of a request, after its fingerprint was compared")
        {
            file, folder, reply, days, fingerprint, yes,
        };
        command.SetAction(async (parsed, cancellationToken) =>
        {
            var (path, output) = (parsed.GetRequiredValue(file), parsed.InvocationConfiguration.Output);
            var authority = PkiCommand.Open(parsed, folder);
            var request = Replies.Read(path, authority.Domain);
            await output.WriteLineAsync($"asks for: {request.Names}");
            foreach (var name in request.Names.Dns(authority.Domain)) await output.WriteLineAsync($"  {name}");
            foreach (var address in request.Names.Addresses) await output.WriteLineAsync($"  {address}");
            await output.WriteLineAsync($"key: {request.KeyName}");
            await output.WriteLineAsync($"fingerprint: {request.Shown}");
            await RequireConsentAsync(request, parsed.GetValue(fingerprint), parsed.GetValue(yes), output, cancellationToken);
            var place = parsed.GetValue(reply) ?? Path.Combine(Path.GetDirectoryName(Path.GetFullPath(path))!, "approved");
            var asked = (int)(parsed.GetValue(days) ?? Issuing.LeafLifetime.TotalDays);
            var record = Replies.Write(place, authority, request, asked);
            await output.WriteLineAsync($"issued: serial {record.Serial}, valid from {Chains.Text(record.From)} "
                + $"to {Chains.Text(record.Until)}"
                + (record.Until - record.From < TimeSpan.FromDays(asked) ? ", when the authority ends" : ""));
            await output.WriteLineAsync($"send back: {place}");
            return ExitCode.Done;
        });
        return command;
    }

    public static Command Renew()
    {
        var folder = Tls();
        var key = new Option<string>("--key")
        {
            Description = "new (default): a new key waits beside the present one; keep: the present one is certified again",
            DefaultValueFactory = static _ => "new",
        };
        key.AcceptOnlyFromAmong("new", "keep");
        var command = new Command("renew", "Ask for another certificate of the same names, beside the one that is served")
        {
            folder, key,
        };
        command.SetAction(async (parsed, _) =>
        {
            var place = parsed.GetRequiredValue(folder);
            await SayAsync(parsed.InvocationConfiguration.Output, place,
                IdentityFolder.Renew(place, newKey: parsed.GetRequiredValue(key) == "new"));
            return ExitCode.Done;
        });
        return command;
    }

    public static Command Install()
    {
        var reply = new Argument<string>("reply") { Description = "What the authority sent back: a folder, or the certificate's file" };
        var folder = Tls();
        var fingerprint = new Option<string[]>("--ca-fingerprint")
        {
            Description = "SHA-256 of the authority's root, as its administrator told you; each root that is new here has to be one of "
                + "these, so repeat it",
            HelpName = "SHA256",
        };
        var command = new Command("install", "Put a certificate that was sent back beside its key; a silo that runs takes it over")
        {
            reply, folder, fingerprint,
        };
        command.SetAction(async (parsed, _) =>
        {
            var (place, output) = (parsed.GetRequiredValue(folder), parsed.InvocationConfiguration.Output);
            List<string> told = [.. (parsed.GetValue(fingerprint) ?? []).Select(one => Fingerprints.Parse(fingerprint.Name, one))];
            using var installed = IdentityFolder.Install(place, parsed.GetRequiredValue(reply), told, Trusts, TimeProvider.System);
            await output.WriteLineAsync($"{Path.Combine(place, TlsFiles.CertificateName)}: "
                + $"{string.Join(", ", CertificateNames.DnsOf(installed))}, serial {installed.SerialNumber}, "
                + $"valid until {Chains.Text(installed.NotAfter)}");
            return ExitCode.Done;

            void Trusts(X509Certificate2 root) => output.WriteLine($"trusted from now on: {PkiCommand.InWords(root)}"
                + (told.Count > 0 ? ", as you were told" : "; compare with what the authority's administrator says"));
        });
        return command;
    }

    private static Option<string> Tls() => new("--tls")
    {
        Description = "The folder of the certificate, as silo --tls takes it", Required = true,
    };

    private static async Task SayAsync(TextWriter output, string folder, SigningRequest request)
    {
        await output.WriteLineAsync($"asks for: {request.Names}");
        await output.WriteLineAsync($"send to the authority: {Path.Combine(folder, SigningRequest.FileName)}");
        await output.WriteLineAsync($"tell it by another way, as by telephone: fingerprint {request.Shown}");
    }

    private static async Task RequireConsentAsync(
        SigningRequest request, string? fingerprint, bool yes, TextWriter output, CancellationToken cancellationToken)
    {
        if (fingerprint is not null)
        {
            if (Fingerprints.Digits(fingerprint) != request.Fingerprint)
                throw new BadInputException("--fingerprint is not that of this request: it was changed on the way, or it is another one");
            return;
        }

        if (yes) return;
        if (Console.IsInputRedirected)
            throw new BadInputException("nothing was issued: compare the fingerprint with the one that the requester tells you, "
                + "and give it by --fingerprint (or --yes)");
        await output.WriteAsync("the same fingerprint as the requester told you? (yes or no) ");
        await output.FlushAsync(cancellationToken);
        if ((await Console.In.ReadLineAsync(cancellationToken))?.Trim() is not ("y" or "yes"))
            throw new BadInputException("nothing was issued");
    }
}
