using System.CommandLine;
using System.Text.Json;
using FedRLora.Abstractions;
using FedRLora.ControlPlane.Views;
using FedRLora.Pki;
using FedRLora.Pki.Authority;

namespace FedRLora.Client.Commands;

/// <summary><c>fedrlora pki show PATH</c>: what stands in a certificate, a request, a silo's folder or an authority's.</summary>
internal static class PkiShow
{
    public static Command Create()
    {
        var path = new Argument<string>("path") { Description = "A certificate, a request, the folder of a silo or of an authority" };
        var json = SharedOptions.Json();
        var command = new Command("show", "Show names, serial, times and fingerprint, and whether others would accept it") { path, json };
        command.SetAction(async (parsed, _) =>
        {
            var (what, output, asJson) = (parsed.GetRequiredValue(path), parsed.InvocationConfiguration.Output, parsed.GetValue(json));
            if (Directory.Exists(what))
            {
                return AuthorityFolder.IsOne(what)
                    ? await AuthorityAsync(PkiCommand.Open(parsed, what), output, asJson)
                    : await FolderAsync(what, output, asJson);
            }

            if (Replies.IsRequest(what)) return await RequestAsync(what, output, asJson);
            foreach (var report in CertificateReport.OfFile(what, TimeProvider.System)) await WriteAsync(report, output, asJson);
            return ExitCode.Done;
        });
        return command;
    }

    private static async Task<int> FolderAsync(string folder, TextWriter output, bool json)
    {
        var report = CertificateReport.OfFolder(folder, TimeProvider.System);
        await WriteAsync(report, output, json);
        if (!json)
        {
            await output.WriteLineAsync(report.KeyFits switch
            {
                true => "key: fits", false => "key: is another certificate's", null => "key: is not here",
            });
            await output.WriteLineAsync(report.Problem is { } problem ? $"would be refused: {problem}" : "others accept it");
        }

        return report.Problem is null ? ExitCode.Done : ExitCode.Failed;
    }

    private static async Task<int> RequestAsync(string file, TextWriter output, bool json)
    {
        var (request, domain) = Replies.ReadAny(file);
        if (json)
        {
            await output.WriteLineAsync(JsonSerializer.Serialize(new
            {
                Json.Schema, file, request = request.Fingerprint, names = request.Names.Dns(domain),
                addresses = request.Names.Addresses.Select(static one => one.ToString()), key = request.KeyName,
            }, Json.Lines));
            return ExitCode.Done;
        }

        await output.WriteLineAsync($"{file}: a request for {request.Names}");
        await output.WriteLineAsync($"key: {request.KeyName}");
        await output.WriteLineAsync($"fingerprint: {request.Shown}");
        return ExitCode.Done;
    }

    private static async Task<int> AuthorityAsync(AuthorityFolder authority, TextWriter output, bool json)
    {
        var (denied, now, issues) = (authority.Revoked(), TimeProvider.System.GetUtcNow(), Fingerprints.Of(authority.Root()));
        foreach (var root in CertificateReport.OfFile(authority.Bundle, TimeProvider.System))
        {
            if (json) await WriteAsync(root, output, json);
            else
                await output.WriteLineAsync($"trusted: {root.Subject}, fingerprint {Fingerprints.Shown(root.Fingerprint)}, "
                    + $"valid until {Chains.Text(root.Until)}{(root.Fingerprint == issues ? ", issues" : "")}");
        }

        var sites = denied.Sites.Select(site => SanNames.OfSite(site, authority.Domain)).ToHashSet();
        foreach (var one in authority.Issued())
        {
            var revoked = denied.Serials.Contains(DenyList.Serial(one.Serial))
                || one.Names.Any(sites.Contains);
            if (json)
            {
                await output.WriteLineAsync(JsonSerializer.Serialize(new
                {
                    Json.Schema, one.Serial, one.Names, one.Addresses, one.From, one.Until, one.Request, one.Authority, revoked,
                }, Json.Lines));
                continue;
            }

            var state = revoked ? "revoked" : one.Until <= now ? "over" : $"{(one.Until - now).Days} days left";
            await output.WriteLineAsync($"{one.Serial}  {string.Join(", ", one.Names)}  until {Chains.Text(one.Until)}, {state}");
        }

        if (!json)
        {
            foreach (var site in denied.Sites.Order(StringComparer.Ordinal)) await output.WriteLineAsync($"revoked: site {site}");
        }

        return ExitCode.Done;
    }

    private static async Task WriteAsync(CertificateReport report, TextWriter output, bool json)
    {
        if (json)
        {
            await output.WriteLineAsync(JsonSerializer.Serialize(new
            {
                Json.Schema, report.File, report.Names, report.Addresses, report.Subject, report.Issuer, report.Serial, report.From,
                report.Until, report.DaysLeft, report.Fingerprint, report.Key, report.IsAuthority, report.KeyFits, report.Revoked,
                report.Problem,
            }, Json.Lines));
            return;
        }

        await output.WriteLineAsync($"{report.File}: {(report.IsAuthority ? "an authority" : "a certificate")}, {report.Subject}");
        foreach (var name in report.Names.Concat(report.Addresses)) await output.WriteLineAsync($"  {name}");
        await output.WriteLineAsync($"issued by: {report.Issuer}");
        await output.WriteLineAsync($"serial: {report.Serial}");
        await output.WriteLineAsync($"valid: from {Chains.Text(report.From)} to {Chains.Text(report.Until)}, "
            + (report.DaysLeft < 0 ? "over" : Words.Count(report.DaysLeft, "day") + " left"));
        await output.WriteLineAsync($"key of: {report.Key}");
        await output.WriteLineAsync($"fingerprint: {Fingerprints.Shown(report.Fingerprint)}");
        if (report.Revoked is { } revoked) await output.WriteLineAsync(revoked ? "revoked: yes" : "revoked: no");
    }
}
