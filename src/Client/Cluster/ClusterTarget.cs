using System.CommandLine;
using System.Globalization;
using FedRLora.Abstractions;
using FedRLora.Client.Commands;
using FedRLora.Silo;

namespace FedRLora.Client.Cluster;

/// <summary>The options that say which silos a command talks to.</summary>
internal sealed class ClusterTarget
{
    private readonly Option<int[]> _gateways = SharedOptions.Ports(
        "--gateway", $"Gateway port of a silo on this machine, by default {SiloPorts.Gateway}; repeat it to survive the loss of one");
    private readonly Option<ClusterLocation?> _cluster = Location();
    private readonly Option<string> _id = Id();

    /// <summary>Adds the options to a command and returns them.</summary>
    public static ClusterTarget AddTo(Command command)
    {
        var target = new ClusterTarget();
        command.Options.Add(target._gateways);
        command.Options.Add(target._cluster);
        command.Options.Add(target._id);
        return target;
    }

    /// <summary><c>--cluster</c>.</summary>
    public static Option<ClusterLocation?> Location() => new("--cluster")
    {
        Description = $"Where silos find one another: {ClusterLocation.Forms}; "
            + $"the password of Redis is read from {RedisMembership.PasswordVariable}",
        CustomParser = static result =>
        {
            try
            {
                return ClusterLocation.Parse(result.Tokens[0].Value);
            }
            catch (BadInputException e)
            {
                result.AddError(e.Message);
                return null;
            }
        },
    };

    /// <summary><c>--cluster-id</c>.</summary>
    public static Option<string> Id() => new("--cluster-id")
    {
        Description = "Which cluster, where several share one Redis",
        DefaultValueFactory = static _ => SiloHost.ServiceId,
    };

    /// <summary>Whether silos were named at all.</summary>
    public bool IsNamed(ParseResult parsed) => parsed.GetValue(_gateways) is { Length: > 0 } || parsed.GetValue(_cluster) is not null;

    /// <summary>A command to the same silos, as the user can type it.</summary>
    public string Line(ParseResult parsed, params IEnumerable<string> words) => OwnCommand.Line([.. words, .. Options(parsed)]);

    /// <summary>The same for a command that is of run folders where no silos are named.</summary>
    public string LineNamingSilos(ParseResult parsed, params IEnumerable<string> words) =>
        OwnCommand.Line([.. words, .. IsNamed(parsed) ? [] : new[] { "--gateway", $"{SiloPorts.Gateway}" }, .. Options(parsed)]);

    private IEnumerable<string> Options(ParseResult parsed) =>
    [
        .. (parsed.GetValue(_gateways) ?? []).SelectMany(static port => new[] { "--gateway", port.ToString(CultureInfo.InvariantCulture) }),
        .. parsed.GetValue(_cluster) is { } cluster ? new[] { "--cluster", $"{cluster}" } : [],
        .. parsed.GetRequiredValue(_id) is var id && id != SiloHost.ServiceId ? new[] { "--cluster-id", id } : [],
    ];

    /// <summary>Says on standard error what an accepted run will wait for.</summary>
    public static async Task WarnAsync(ParseResult parsed, ClusterConnection silos, string run, CancellationToken cancellationToken)
    {
        foreach (var line in await silos.AbsentSitesAsync(run, cancellationToken))
            await parsed.InvocationConfiguration.Error.WriteLineAsync($"{run} waits: {line}");
    }

    /// <exception cref="BadInputException">Gateways and a membership are both named.</exception>
    /// <exception cref="EnvironmentException">No silo answers.</exception>
    public async Task<ClusterConnection> OpenAsync(ParseResult parsed, CancellationToken cancellationToken)
    {
        var id = Identifiers.Check("--cluster-id", parsed.GetRequiredValue(_id));
        var gateways = parsed.GetValue(_gateways) ?? [];
        if (parsed.GetValue(_cluster) is ClusterLocation.Redis redis)
        {
            if (gateways.Length > 0)
                throw new BadInputException($"--gateway and --cluster {redis} exclude each other: the membership names the gateways");
            return await ClusterConnection.OpenAsync(redis, id, [], cancellationToken);
        }

        return await ClusterConnection.OpenAsync(
            new ClusterLocation.Localhost(), id, gateways.Length > 0 ? gateways : [SiloPorts.Gateway], cancellationToken);
    }
}
