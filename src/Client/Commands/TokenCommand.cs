using System.CommandLine;
using System.Globalization;
using System.Text;
using FedRLora.Abstractions;
using FedRLora.ControlPlane.Access;

namespace FedRLora.Client.Commands;

/// <summary><c>fedrlora token</c>: a line in a file of hashed tokens, and the token once.</summary>
internal static class TokenCommand
{
    private const UnixFileMode Owner = UnixFileMode.UserRead | UnixFileMode.UserWrite;
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(10), TryEvery = TimeSpan.FromMilliseconds(50);

    public static Command Create()
    {
        var name = new Option<string>("--name") { Description = "Whose token it is", Required = true };
        var role = new Option<string[]>("--role")
        {
            Description = "What it allows: viewer, operator, or nothing beside --site", HelpName = "ROLE",
        };
        role.AcceptOnlyFromAmong(Principals.Viewer, Principals.Operator);
        var site = new Option<string[]>("--site")
        {
            Description = "A site that its holder administers, and whose adapters and scores he may read; repeat it",
        };
        var file = new Option<string>("--file")
        {
            Description = "The file of silo --control-tokens, made where it is not there", Required = true,
        };
        var until = new Option<string?>("--until")
        {
            Description = "The last day on which it counts, UTC; by default none", HelpName = "YYYY-MM-DD",
        };
        var into = new Option<string?>("--out")
        {
            Description = "A file for the token, which must not be there; by default standard output",
        };
        var command = new Command("token", "Make a token for the control plane of silos: its hash into a file, the token once")
        {
            name, role, site, file, until, into,
        };
        command.SetAction(async (parsed, cancellationToken) =>
        {
            string[] roles =
            [
                .. (parsed.GetValue(role) ?? []).Distinct(),
                .. (parsed.GetValue(site) ?? []).Distinct().Select(static one => $"site:{Identifiers.Check("--site", one)}"),
            ];
            if (roles.Length == 0) throw new BadInputException("--role, --site: neither is given, so that the token would allow nothing");
            var token = TokenEntry.NewToken();
            var entry = new TokenEntry(
                Identifiers.Check("--name", parsed.GetRequiredValue(name)), Rights.Parse("--role", string.Join(',', roles)),
                TokenEntry.HashOf(token), parsed.GetValue(until) is { } day ? TokenEntry.Day("--until", day) : null);
            var (hashed, target) = (parsed.GetRequiredValue(file), parsed.GetValue(into));
            // the token first: a line whose token nobody has would only have to be taken out again
            if (target is not null) Keep(target, token);
            try
            {
                await AppendAsync(hashed, entry, cancellationToken);
            }
            catch
            {
                if (target is not null) File.Delete(target);
                throw;
            }

            if (target is null) await parsed.InvocationConfiguration.Output.WriteLineAsync(token);
            await parsed.InvocationConfiguration.Error.WriteLineAsync($"{hashed}: {entry.Name} is {entry.Rights}"
                + (entry.Until is { } last ? $" until {last.ToString("yyyy-MM-dd", CultureInfo.InvariantCulture)}" : "")
                + (target is null ? "; the token is shown this once" : $"; the token is in {target}"));
            return ExitCode.Done;
        });
        return command;
    }

    private static void Keep(string target, string token)
    {
        try
        {
            using var stream = new FileStream(target, new FileStreamOptions
            {
                Mode = FileMode.CreateNew, Access = FileAccess.Write, UnixCreateMode = Owner,
            });
            stream.Write(Encoding.UTF8.GetBytes(token + "\n"));
            stream.Flush(flushToDisk: true);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new BadInputException($"--out: {target}: cannot be written: {e.Message}", e);
        }
    }

    // One line in one write, behind a lock that every writer takes; a silo that reads meanwhile sees it or not.
    private static async Task AppendAsync(string file, TokenEntry entry, CancellationToken cancellationToken)
    {
        using var enough = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        enough.CancelAfter(Patience);
        while (true)
        {
            try
            {
                using var stream = new FileStream(file, new FileStreamOptions
                {
                    Mode = FileMode.OpenOrCreate, Access = FileAccess.ReadWrite, Share = FileShare.None, UnixCreateMode = Owner,
                });
                using var read = new MemoryStream();
                stream.CopyTo(read);
                var text = Encoding.UTF8.GetString(read.ToArray());
                var line = $"{(text.Length > 0 && !text.EndsWith('\n') ? "\n" : "")}{entry}\n";
                _ = TokenEntry.Parse(file, text + line); // the name may be there
                stream.Seek(0, SeekOrigin.End);
                stream.Write(Encoding.UTF8.GetBytes(line));
                stream.Flush(flushToDisk: true);
                return;
            }
            catch (Exception e) when (e is DirectoryNotFoundException or UnauthorizedAccessException)
            {
                throw new BadInputException($"--file: {file}: cannot be written: {e.Message}", e);
            }
            catch (IOException) when (!enough.IsCancellationRequested)
            {
                await Task.Delay(TryEvery, cancellationToken); // somebody else writes
            }
            catch (IOException e)
            {
                throw new BadInputException($"--file: {file}: cannot be written: {e.Message}", e);
            }
        }
    }
}
