using System.CommandLine;
using System.Net;
using FedRLora.Abstractions;
using FedRLora.ControlPlane;
using FedRLora.ControlPlane.Access;
using FedRLora.Pki;

namespace FedRLora.Client.Control;

/// <summary>The options that say where a silo's control plane listens, and whom it knows.</summary>
internal sealed class ControlPlaneOptions
{
    private readonly Option<IPEndPoint?> _control = new("--control")
    {
        Description = $"Where its control plane listens: {ControlOptions.Forms}; by default {ControlOptions.DefaultPort} for the first "
            + "silo and a free port for others and with --cluster redis://. Loopback speaks http, anything else https",
        CustomParser = static result =>
        {
            try
            {
                return ControlOptions.Parse(result.Tokens[0].Value);
            }
            catch (BadInputException e)
            {
                result.AddError(e.Message);
                return null;
            }
        },
    };
    private readonly Option<string?> _token = new("--control-token")
    {
        Description = "The file with the operator's token, made where it is not there; by default one that this user's commands find, and "
            + "over https none",
    };
    private readonly Option<string?> _tokens = new("--control-tokens")
    {
        Description = "A file with the hashed tokens of several people, each with a role, that fedrlora token writes",
        HelpName = "FILE",
    };
    private readonly Option<string?> _tls = new("--control-tls")
    {
        Description = "The folder with the control plane's certificate (tls.crt, tls.key); by default that of --tls, whose authorities and "
            + "deny-list count for its clients. Without --tls the folder holds these too (ca.crt, revoked.txt). Named, loopback speaks "
            + "https too",
        HelpName = "FOLDER",
    };
    private readonly Option<string[]> _names = new("--control-name")
    {
        Description = "Another name or address that the control plane is asked by over https, beside those of its certificate; repeat it",
        HelpName = "HOST",
    };
    private readonly Option<string?> _oidc = new("--oidc")
    {
        Description = "The issuer whose signed tokens (JWT) the control plane accepts, as https://login.example.org/tenant",
        HelpName = "AUTHORITY",
    };
    private readonly Option<string?> _audience = new("--oidc-audience") { Description = "Whom a signed token has to be made for" };
    private readonly Option<string> _roleClaim = new("--oidc-role-claim")
    {
        Description = "The claim with the roles (fedrlora.viewer, fedrlora.operator, fedrlora.site.NAME); by default "
            + OidcOptions.DefaultRoleClaim,
        DefaultValueFactory = static _ => OidcOptions.DefaultRoleClaim,
    };
    private readonly Option<bool> _dashboard = new("--orleans-dashboard")
    {
        Description = "Show Orleans' own dashboard below /orleans of the control plane, to operators; give it to every silo",
    };

    private ControlPlaneOptions()
    {
    }

    /// <summary>Adds the options to a command and returns them.</summary>
    public static ControlPlaneOptions AddTo(Command command)
    {
        var options = new ControlPlaneOptions();
        foreach (var option in new Option[]
        {
            options._control, options._token, options._tokens, options._tls, options._names, options._oidc, options._audience,
            options._roleClaim, options._dashboard,
        })
            command.Options.Add(option);
        return options;
    }

    /// <summary>Whether Orleans' own dashboard was asked for.</summary>
    public bool ShowsOrleans(ParseResult parsed) => parsed.GetValue(_dashboard);

    /// <summary>What was given.</summary>
    /// <param name="parsed">The command line.</param>
    /// <param name="byDefault">The port of loopback where nothing was said.</param>
    /// <param name="ofSilo">The silo's own certificate; null where it has none.</param>
    /// <param name="trustDomain">The trust domain.</param>
    /// <param name="advertised">Names and addresses that others reach the silo by.</param>
    /// <exception cref="BadInputException">Tokens would travel in the clear, or something is half said.</exception>
    public ControlOptions Read(ParseResult parsed, int byDefault, TlsFiles? ofSilo, string trustDomain,
        params IEnumerable<string> advertised)
    {
        var address = parsed.GetValue(_control) ?? new(IPAddress.Loopback, byDefault);
        var (oidc, audience) = (parsed.GetValue(_oidc), parsed.GetValue(_audience));
        if (oidc is null != audience is null)
            throw new BadInputException("--oidc and --oidc-audience go together: a token that was made for somebody else is not accepted");
        var own = parsed.GetValue(_tls) is { } folder ? TlsFiles.In(folder) : null;
        return new ControlOptions
        {
            Address = address, TokenFile = parsed.GetValue(_token), TokensFile = parsed.GetValue(_tokens), TrustDomain = trustDomain,
            Tls = own is null ? IPAddress.IsLoopback(address.Address) ? null : ofSilo
                : ofSilo is null ? own : own with { Authorities = ofSilo.Authorities, Denied = ofSilo.Denied },
            IsPublic = own is not null && ofSilo is not null,
            Names = [.. parsed.GetValue(_names) ?? [], .. advertised], OrleansDashboard = parsed.GetValue(_dashboard),
            Oidc = oidc is null ? null : new(OidcOptions.ParseAuthority(oidc), audience!, parsed.GetRequiredValue(_roleClaim)),
        }.Checked();
    }
}
