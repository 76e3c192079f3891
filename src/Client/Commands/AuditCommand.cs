using System.CommandLine;
using System.Globalization;
using System.Runtime.CompilerServices;
using System.Text;
using FedRLora.Abstractions;
using FedRLora.Client.Control;
using FedRLora.ControlPlane.Access;
using FedRLora.ControlPlane.Audit;
using FedRLora.Silo.Storage;

namespace FedRLora.Client.Commands;

/// <summary><c>fedrlora audit</c>: what was done through the control planes of silos, and whether the record is whole.</summary>
internal static class AuditCommand
{
    private const int Page = 1_000, LongestLine = 64 << 10;

    public static Command Create()
    {
        var store = new Option<string?>("--store")
        {
            Description = "Instead of asking silos: the job's store of silos, a folder or a container's URL",
        };
        var noted = new Option<string[]>("--noted")
        {
            Description = "Where a record ended once, as this command printed it: it has to be there still, unchanged; repeat it",
            HelpName = "SILO:LINES:SHA256",
        };
        var json = SharedOptions.Json();
        var command = new Command("audit",
            "Print what was done through the control planes of silos, and check that nothing of it was changed")
        {
            store, noted, json,
        };
        var target = ControlTarget.AddTo(command);
        command.SetAction(async (parsed, cancellationToken) =>
        {
            if (parsed.GetValue(store) is not null && target.IsMeant(parsed))
                throw new BadInputException("--store and --server exclude each other: a store is read without a silo");
            var ends = (parsed.GetValue(noted) ?? []).Select(EndOf).ToList();
            using var silos = parsed.GetValue(store) is null ? target.Open(parsed) : null;
            IAuditSource source = parsed.GetValue(store) is { } location ? new StoredAudit(OpenStore(location)) : new AskedAudit(silos!);
            var (output, error) = (parsed.InvocationConfiguration.Output, parsed.InvocationConfiguration.Error);
            var isWhole = true;
            var found = await source.SilosAsync(cancellationToken);
            foreach (var silo in found.Union(ends.Select(static end => end.Silo)).Order(StringComparer.Ordinal))
            {
                var chain = new AuditChain(silo);
                var expected = ends.Where(end => end.Silo == silo).ToList();
                await foreach (var line in source.LinesAsync(silo, cancellationToken))
                {
                    var read = chain.Take(line);
                    if (parsed.GetValue(json)) await output.WriteAsync(Encoding.UTF8.GetString(line));
                    else if (read is not null) await output.WriteLineAsync(ControlErrors.Line(Text(read)));
                    expected.RemoveAll(end => end == chain.End);
                }

                var end = chain.End;
                await error.WriteLineAsync($"{silo}: {end.Lines} lines, the last {silo}:{end.Lines}:{end.Sha256}");
                string[] problems =
                [
                    .. chain.Problem is { } problem ? [problem] : (string[])[],
                    .. expected.Select(once => once.Lines > end.Lines
                        ? $"lines {end.Lines + 1} to {once.Lines} are cut off: {once.Lines} were noted"
                        : $"line {once.Lines} is not the one that was noted"),
                ];
                foreach (var wrong in problems) await error.WriteLineAsync($"{silo}: broken: {wrong}");
                isWhole &= problems.Length == 0;
            }

            if (found.Count == 0) await error.WriteLineAsync("nothing is recorded");
            return isWhole ? ExitCode.Done : ExitCode.Failed;
        });
        return command;
    }

    private static string Text(AuditLine line)
    {
        var text = new StringBuilder();
        text.Append(CultureInfo.InvariantCulture, $"{line.At.UtcDateTime:yyyy-MM-dd HH:mm:ss}Z {line.Silo}#{line.Number} ");
        text.Append(line.What switch
        {
            AuditEvent.Asked => $"{line.Route} asked",
            AuditEvent.Answered => string.Create(CultureInfo.InvariantCulture, $"{line.Route} answered #{line.Of} with {line.Status}")
                + (line.WasCut == true ? ", cut" : ""),
            _ => string.Create(CultureInfo.InvariantCulture, $"{line.Route} refused with {line.Status}"),
        });
        if (line.Run is not null) text.Append(CultureInfo.InvariantCulture, $", run {line.Run}");
        if (line.Client is not null) text.Append(CultureInfo.InvariantCulture, $", client {line.Client}");
        text.Append(line.Who is { } who
            ? $", by {who.Name} ({string.Join(", ", [who.By, .. who.Credential is { } shown ? [shown] : (string[])[], .. who.Roles])})"
            : ", by nobody who is known");
        text.Append(CultureInfo.InvariantCulture, $", from {line.From}");
        if (line.PlanSha256 is not null) text.Append(CultureInfo.InvariantCulture, $", plan {line.PlanSha256[..12]}");
        else if (line.BodySha256 is not null) text.Append(CultureInfo.InvariantCulture, $", body {line.BodySha256[..12]}");
        if (line.Unwritten is not null) text.Append(CultureInfo.InvariantCulture, $", {line.Unwritten} refusals before it not written");
        return text.ToString();
    }

    private static AuditChainEnd EndOf(string text) =>
        text.Split(':') is [var silo, var lines, var sha256] && Identifiers.IsValid(silo) && sha256.Length == 64
            && int.TryParse(lines, NumberStyles.None, CultureInfo.InvariantCulture, out var count)
            ? new(silo, count, sha256.ToLowerInvariant())
            : throw new BadInputException($"--noted: \"{BadInputException.Shown(text)}\" is not SILO:LINES:SHA256, as audit prints it");

    private static AuditStore OpenStore(string location)
    {
        var parsed = StoreLocation.Parse(StoreRole.Job, location);
        return parsed.IsFolder && !Directory.Exists(parsed.Name)
            ? throw new BadInputException($"{location}: there is no such folder")
            : new(parsed.Open(parsed.IsFolder ? StorePermissions.ModeOf(parsed.Name) ?? default : default));
    }

    private interface IAuditSource
    {
        Task<IReadOnlyList<string>> SilosAsync(CancellationToken cancellationToken);

        IAsyncEnumerable<byte[]> LinesAsync(string silo, CancellationToken cancellationToken);
    }

    private sealed class StoredAudit(AuditStore store) : IAuditSource
    {
        public Task<IReadOnlyList<string>> SilosAsync(CancellationToken cancellationToken) => store.SilosAsync(cancellationToken);

        public async IAsyncEnumerable<byte[]> LinesAsync(string silo, [EnumeratorCancellation] CancellationToken cancellationToken)
        {
            await foreach (var (_, line) in store.LinesAsync(silo, after: 0, int.MaxValue, cancellationToken)) yield return line;
        }
    }

    private sealed class AskedAudit(ControlClient silos) : IAuditSource
    {
        public async Task<IReadOnlyList<string>> SilosAsync(CancellationToken cancellationToken) =>
            [.. (await silos.GetAsync<AuditChains>(Routes.Audit.Pattern, cancellationToken)).Chains.Select(static chain => chain.Silo)];

        public async IAsyncEnumerable<byte[]> LinesAsync(string silo, [EnumeratorCancellation] CancellationToken cancellationToken)
        {
            for (int after = 0, got = Page; got == Page; after += got)
            {
                got = 0;
                List<byte[]> lines;
                try
                {
                    lines = await PageAsync(silo, after, cancellationToken);
                }
                catch (NotThereException)
                {
                    yield break; // it was noted once, and nothing of it is there
                }

                foreach (var line in lines)
                {
                    got++;
                    yield return line;
                }
            }
        }

        private async Task<List<byte[]>> PageAsync(string silo, int after, CancellationToken cancellationToken)
        {
            var path = string.Create(CultureInfo.InvariantCulture, $"{Routes.Audit.Pattern}/{silo}?after={after}&most={Page}");
            await using var file = await silos.FileAsync(path, "application/jsonl", silos.Patience.Answer, Page * LongestLine,
                cancellationToken);
            using var copy = new MemoryStream();
            await file.Content.CopyToAsync(copy, cancellationToken);
            var (bytes, lines) = (copy.ToArray(), new List<byte[]>());
            for (var at = 0; at < bytes.Length;)
            {
                var end = Array.IndexOf(bytes, (byte)'\n', at) is var found and >= 0 ? found + 1 : bytes.Length;
                lines.Add(bytes[at..end]);
                at = end;
            }

            return lines;
        }
    }
}
