using System.CommandLine;
using System.CommandLine.Parsing;
using FedRLora.Abstractions;
using FedRLora.ControlPlane.Http;

namespace FedRLora.Client.Control;

/// <summary>The options that say which silos a command talks to.</summary>
internal sealed class ControlTarget
{
    private readonly Option<string[]> _servers = new("--server")
    {
        Description = $"Where a silo answers, by default {ServerAddress.Default}; repeat it to go on with another when one is lost",
        HelpName = "URL",
    };
    private readonly Option<string?> _tokenFile = new("--token-file")
    {
        Description = "The file with the silo's token; by default that of this user's own silo on the server's port",
        HelpName = "FILE",
    };
    private readonly Option<string?> _ca = new("--ca")
    {
        Description = "With https: a file with the certificates of the authorities that are trusted; by default ca.crt of --tls, else the "
            + "machine's",
        HelpName = "FILE",
    };
    private readonly Option<string?> _tls = new("--tls")
    {
        Description = "With https: a folder with a certificate to show (tls.crt, tls.key, ca.crt)",
        HelpName = "FOLDER",
    };

    private ControlTarget()
    {
    }

    /// <summary>Adds the options to a command and returns them.</summary>
    public static ControlTarget AddTo(Command command)
    {
        var target = new ControlTarget();
        command.Options.Add(target._servers);
        command.Options.Add(target._tokenFile);
        command.Options.Add(target._ca);
        command.Options.Add(target._tls);
        return target;
    }

    /// <summary>Whether anything says that silos are meant.</summary>
    public bool IsMeant(ParseResult parsed) => IsNamed(parsed) || parsed.GetValue(_tokenFile) is not null
        || parsed.GetValue(_ca) is not null || parsed.GetValue(_tls) is not null;

    /// <summary>Whether silos were named at all.</summary>
    public bool IsNamed(ParseResult parsed) => parsed.GetValue(_servers) is { Length: > 0 };

    /// <inheritdoc cref="IsNamed(ParseResult)"/>
    public bool IsNamed(CommandResult result) => result.GetResult(_servers) is not null;

    /// <summary>A command to the same silos, as the user can type it.</summary>
    public string Line(ParseResult parsed, params IEnumerable<string> words) => OwnCommand.Line([.. words, .. Options(parsed)]);

    /// <summary>The same for a command that is of run folders where no silos are named.</summary>
    public string LineNamingSilos(ParseResult parsed, params IEnumerable<string> words) =>
        OwnCommand.Line([.. words, .. IsNamed(parsed) ? [] : new[] { "--server", ServerAddress.Default }, .. Options(parsed)]);

    /// <summary>Silos to talk to; nothing is sent yet.</summary>
    /// <exception cref="BadInputException">An address is none, or its token may not be sent there.</exception>
    public ControlClient Open(ParseResult parsed)
    {
        var named = parsed.GetValue(_servers) is { Length: > 0 } given ? given : [ServerAddress.Default];
        var servers = named.Select(ServerAddress.Parse).DistinctBy(static server => $"{server}").ToList();
        var (file, ca, tls) = (parsed.GetValue(_tokenFile), parsed.GetValue(_ca), parsed.GetValue(_tls));
        if ((ca ?? tls) is not null && servers.FirstOrDefault(static server => !server.IsSecure) is { } plain)
            throw new BadInputException($"{(ca is null ? "--tls" : "--ca")}: {plain} is plain http, where there are no certificates; name "
                + "it with https");
        var trust = ServerTrust.Open(ca, tls);
        return new(
            [.. servers.Select(server => new NamedServer(server, Token.Read(file, server.IsLoopback ? server.Port : null), trust))],
            LineNamingSilos(parsed, "runs"));
    }

    /// <summary>Says on standard error what an accepted run will wait for.</summary>
    public static void Warn(ParseResult parsed, Steered steered)
    {
        foreach (var line in steered.Waits)
            parsed.InvocationConfiguration.Error.WriteLine($"{steered.Run} waits: {ControlErrors.Line(line)}");
    }

    private IEnumerable<string> Options(ParseResult parsed) =>
    [
        .. (parsed.GetValue(_servers) ?? []).SelectMany(static server => new[] { "--server", server }),
        .. parsed.GetValue(_tokenFile) is { } file ? new[] { "--token-file", file } : [],
        .. parsed.GetValue(_ca) is { } ca ? new[] { "--ca", ca } : [],
        .. parsed.GetValue(_tls) is { } tls ? new[] { "--tls", tls } : [],
    ];
}
