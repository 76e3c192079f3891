using System.CommandLine;
using System.Security.Cryptography.X509Certificates;
using FedRLora.Abstractions;
using FedRLora.ControlPlane.Views;
using FedRLora.Pki;
using FedRLora.Pki.Authority;

namespace FedRLora.Client.Commands;

/// <summary><c>fedrlora pki</c>: an authority in a folder, and the keys and certificates of sites and people.</summary>
internal static class PkiCommand
{
    public static Command Create() => new("pki", "Make certificates of sites and people, renew, revoke and show them")
    {
        Init(), PkiRequests.Request(), PkiRequests.Approve(), PkiRequests.Renew(), PkiRequests.Install(), Revoke(), PkiShow.Create(),
    };

    /// <summary>The folder of the authority.</summary>
    public static Option<string> Folder() => new("--folder")
    {
        Description = "The authority's folder, which only its administrators may read", Required = true,
    };

    public static AuthorityFolder Open(ParseResult parsed, Option<string> folder) => Open(parsed, parsed.GetRequiredValue(folder));

    /// <summary>Opens an authority; what a command that was cut off has left there is told beside the output.</summary>
    public static AuthorityFolder Open(ParseResult parsed, string folder) =>
        AuthorityFolder.Open(folder, Passphrase(), TimeProvider.System, parsed.InvocationConfiguration.Error.WriteLine);

    /// <summary>A root as people compare it.</summary>
    public static string InWords(X509Certificate2 root) =>
        $"{BadInputException.Shown(root.Subject)}, fingerprint {Fingerprints.Shown(Fingerprints.Of(root))}";

    private static string? Passphrase() =>
        Environment.GetEnvironmentVariable(AuthorityFolder.PassphraseVariable) is { Length: > 0 } given ? given : null;

    private static Command Init()
    {
        var folder = Folder();
        var domain = new Option<string>("--trust-domain")
        {
            Description = "What the names of sites and people end with", DefaultValueFactory = static _ => SanNames.DefaultDomain,
        };
        var years = SharedOptions.Number("--years", "How long the root is valid; by default 10", 1, 30);
        var next = new Option<bool>("--next") { Description = "Make the next root beside the present one, which goes on issuing" };
        var use = new Option<bool>("--use-next") { Description = "Issue with the next root from now on" };
        var drop = new Option<bool>("--drop-old") { Description = "Trust the root alone that issues" };
        var command = new Command("init", "Make an authority: its root, its key, and the bundle that everybody trusts")
        {
            folder, domain, years, next, use, drop,
        };
        command.SetAction(async (parsed, _) =>
        {
            var (place, output) = (parsed.GetRequiredValue(folder), parsed.InvocationConfiguration.Output);
            var span = (int)(parsed.GetValue(years) ?? 10);
            var steps = new[] { next, use, drop }.Where(one => parsed.GetValue(one)).Select(static one => one.Name).ToList();
            if (steps.Count > 1) throw new BadInputException($"{string.Join(" and ", steps)} are steps of their own; give one");
            if (steps.Count == 1 && parsed.GetResult(domain) is { Implicit: false })
                throw new BadInputException($"--trust-domain is that of the authority in {place}; leave it out with {steps[0]}");
            if (steps is [] or ["--next"])
            {
                AuthorityFolder authority;
                X509Certificate2 root;
                if (steps is [])
                {
                    authority = AuthorityFolder.Create(place, parsed.GetRequiredValue(domain), span, Passphrase(), TimeProvider.System);
                    root = authority.Root();
                    await output.WriteLineAsync($"authority of {authority.Domain} in {place}, valid until {Chains.Text(root.NotAfter)}"
                        + (Passphrase() is null ? $"; its key is not encrypted ({AuthorityFolder.PassphraseVariable} would)" : ""));
                }
                else
                {
                    authority = Open(parsed, place);
                    root = authority.MakeNext(span);
                    await output.WriteLineAsync($"next root {root.Subject}, valid until {Chains.Text(root.NotAfter)}; "
                        + $"copy {authority.Bundle} to every silo and client, then give --use-next");
                }

                await output.WriteLineAsync($"everybody trusts by {authority.Bundle}");
                await output.WriteLineAsync($"tell who installs it, by another way: {InWords(root)}");
                return ExitCode.Done;
            }

            var existing = Open(parsed, place);
            if (steps is ["--use-next"])
            {
                existing.UseNext();
                await output.WriteLineAsync($"{existing.Root().Subject} issues from now on; renew every certificate, then give --drop-old");
                return ExitCode.Done;
            }

            var refused = existing.DropOld();
            await output.WriteLineAsync($"{existing.Bundle} trusts {existing.Root().Subject} alone; copy it to every silo and client");
            foreach (var one in refused)
                await output.WriteLineAsync(
                    $"refused now: {string.Join(", ", one.Names)} (serial {one.Serial}, until {Chains.Text(one.Until)})");
            return ExitCode.Done;
        });
        return command;
    }

    private static Command Revoke()
    {
        var serials = new Argument<string[]>("serial")
        {
            Description = "Serial numbers, as show prints them", Arity = ArgumentArity.ZeroOrMore,
        };
        var folder = Folder();
        var site = new Option<string[]>("--site") { Description = "A site none of whose certificates counts any more; repeat it" };
        var command = new Command("revoke", "Put certificates or a whole site on the deny-list") { serials, folder, site };
        command.SetAction(async (parsed, _) =>
        {
            var (numbers, sites) = (parsed.GetValue(serials) ?? [],
                (parsed.GetValue(site) ?? []).Select(name => SanNames.CheckLabel(site.Name, name)).Distinct().ToList());
            if (numbers.Length + sites.Count == 0) throw new BadInputException("nothing to revoke: give a serial number or --site NAME");
            var (authority, output) = (Open(parsed, folder), parsed.InvocationConfiguration.Output);
            List<string> revoked = [.. sites.Where(authority.RevokeSite)]; // all of them, before the index is asked for anything
            foreach (var name in sites.Except(revoked)) await output.WriteLineAsync($"was revoked before: site {name}");
            foreach (var (name, count) in revoked.Zip(Valid(authority, revoked)))
                await output.WriteLineAsync(
                    $"revoked: site {name}, {Words.Count(count, "certificate")} of it would have been valid still");
            foreach (var number in numbers)
            {
                await output.WriteLineAsync(authority.RevokeSerial(number) is { } found
                    ? $"revoked: {string.Join(", ", found.Names)} (serial {found.Serial}, until {Chains.Text(found.Until)})"
                    : $"was revoked before: {DenyList.Serial(number)}");
            }

            await output.WriteLineAsync($"copy {authority.Denied} to every silo: it counts where it lies");
            return ExitCode.Done;
        });
        return command;
    }

    // an index that cannot be read keeps nobody from being revoked, and that they are is said
    private static IReadOnlyList<int> Valid(AuthorityFolder authority, List<string> revoked)
    {
        if (revoked.Count == 0) return [];
        try
        {
            return authority.Valid(revoked);
        }
        catch (BadInputException e)
        {
            throw new BadInputException($"revoked: site {string.Join(", ", revoked)}; copy {authority.Denied} to every silo. "
                + $"How many certificates would have been valid still cannot be told: {e.Message}", e.InnerException);
        }
    }
}
