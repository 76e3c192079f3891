using System.CommandLine;
using System.Net;
using System.Net.Sockets;
using FedRLora.Abstractions;
using FedRLora.Silo;

namespace FedRLora.Client.Cluster;

/// <summary>The options that say where a silo listens, and by which address others reach it.</summary>
internal static class AddressOptions
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(10);

    /// <summary><c>--listen</c>.</summary>
    public static Option<IPAddress> Listen() => new("--listen")
    {
        Description = "The address that it listens on for silos: an IP address of this machine, 0.0.0.0 or :: for all; by default "
            + "127.0.0.1; any but loopback needs --tls and a --cluster outside of the silos",
        DefaultValueFactory = static _ => IPAddress.Loopback,
        CustomParser = static result =>
        {
            try
            {
                return ParseListen(result.Tokens[0].Value);
            }
            catch (BadInputException e)
            {
                result.AddError(e.Message);
                return IPAddress.None;
            }
        },
    };

    /// <summary><c>--advertise</c>.</summary>
    public static Option<string?> Advertise() => new("--advertise")
    {
        Description = "The address that other silos reach it by: an IP address, or a host name that is looked up at the start; "
            + "by default that of --listen",
    };

    /// <summary>Whether silos of other machines may be meant.</summary>
    public static bool IsForeign(SiloOptions options) => !IPAddress.IsLoopback(options.Listen) || !IPAddress.IsLoopback(options.Reached);

    /// <summary>Reads <c>--listen</c>.</summary>
    /// <exception cref="BadInputException">It is no address that can be listened on.</exception>
    public static IPAddress ParseListen(string text)
    {
        // .NET reads 1 and 0x7f.1 as addresses too
        if (!IPAddress.TryParse(text, out var address)
            || (address.AddressFamily == AddressFamily.InterNetwork && text.Split('.').Length != 4))
            throw new BadInputException($"--listen: '{BadInputException.Shown(text)}' is no IP address; give one of this machine's, "
                + "0.0.0.0 or :: for all, and a host name to --advertise");
        if (address.IsIPv4MappedToIPv6) address = address.MapToIPv4();
        // Orleans compares by reference where it lets IPv6 listen for IPv4 as well
        if (address.Equals(IPAddress.IPv6Any)) return IPAddress.IPv6Any;
        return Problem(address) is { } problem ? throw new BadInputException($"--listen: {address} is {problem}") : address;
    }

    /// <summary>The address of <c>--advertise</c>; null where it was not given.</summary>
    /// <exception cref="BadInputException">It cannot be what others reach this silo by.</exception>
    /// <exception cref="EnvironmentException">The name cannot be looked up.</exception>
    public static async Task<IPAddress?> ResolveAsync(string? text, IPAddress listen, CancellationToken cancellationToken)
    {
        if (text is null) return null;
        IPAddress[] found;
        if (IPAddress.TryParse(text, out var literal)
            && (literal.AddressFamily != AddressFamily.InterNetwork || text.Split('.').Length == 4))
            found = [literal];
        else if (Uri.CheckHostName(text) == UriHostNameType.Dns && text.Any(static c => !char.IsAsciiDigit(c) && c != '.'))
            found = await LookUpAsync(text, cancellationToken);
        else
            throw new BadInputException($"--advertise: '{BadInputException.Shown(text)}' is neither an IP address nor a host name");
        found = [.. found.Select(static one => one.IsIPv4MappedToIPv6 ? one.MapToIPv4() : one).Distinct()];
        var shown = found is [var only] && only.ToString() == text
            ? text
            : $"{text} ({string.Join(", ", found.Select(static one => one.ToString()))})";
        var usable = found.Where(one => Fits(one, listen)).ToList();
        if (usable.Count == 0)
            throw new BadInputException($"--advertise: {shown} is of another kind than --listen {listen}, "
                + $"which takes {(listen.AddressFamily == AddressFamily.InterNetwork ? "IPv4" : "IPv6")} alone; listen on :: for both");
        // what others take as well: a host's own name often leads to loopback first
        var address = usable.FirstOrDefault(one => !IPAddress.IsLoopback(one) && Problem(one) is null) ?? usable[0];
        if (IsAny(address)) throw new BadInputException($"--advertise: {address} is no address that silos could connect to");
        if (Problem(address) is { } problem) throw new BadInputException($"--advertise: {shown} is {problem}");
        if (IPAddress.IsLoopback(address) && !IPAddress.IsLoopback(listen))
            throw new BadInputException($"--advertise: {shown} is this machine alone, and --listen {listen} is for others; "
                + "advertise an address that they reach, or leave --listen out");
        if (IPAddress.IsLoopback(listen) && !IPAddress.IsLoopback(address))
            throw new BadInputException($"--advertise: others cannot reach {shown} while the silo listens on {listen}; give --listen too");
        if (IPAddress.IsLoopback(listen) && !address.Equals(listen))
            throw new BadInputException($"--advertise: {shown} is not where the silo listens, {listen}; give --listen {address}");
        return address;
    }

    /// <summary>Makes sure that addresses, TLS and membership go together.</summary>
    /// <exception cref="BadInputException">They do not.</exception>
    public static void Check(SiloOptions options)
    {
        if (IsAny(options.Reached))
            throw new BadInputException($"--listen {options.Listen} is no address that others could connect to; "
                + "say by --advertise which one of this machine's they reach");
        if (!IsForeign(options)) return;
        if (options.Tls is null)
            throw new BadInputException($"--listen {options.Listen} lets other machines connect, which needs --tls: "
                + "without certificates anybody could join");
        if (!options.Cluster.IsOutside)
            throw new BadInputException($"--listen {options.Listen} is for silos on several machines, which find one another by "
                + "--cluster redis://, rediss:// or https://; a membership in a silo's memory is for one machine");
    }

    private static async Task<IPAddress[]> LookUpAsync(string name, CancellationToken cancellationToken)
    {
        try
        {
            var found = await Dns.GetHostAddressesAsync(name, cancellationToken).WaitAsync(Patience, cancellationToken);
            return found.Length > 0 ? found : throw new EnvironmentException($"--advertise: the name {name} has no address");
        }
        catch (Exception e) when (e is SocketException or TimeoutException)
        {
            throw new EnvironmentException($"--advertise: the name {name} cannot be looked up: "
                + (e is SocketException ? e.Message : $"nothing came back within {Patience.TotalSeconds:F0} s"), e);
        }
    }

    // :: listens for both
    private static bool Fits(IPAddress advertised, IPAddress listen) =>
        listen.Equals(IPAddress.IPv6Any) || advertised.AddressFamily == listen.AddressFamily;

    private static bool IsAny(IPAddress address) => address.Equals(IPAddress.Any) || address.Equals(IPAddress.IPv6Any);

    private static string? Problem(IPAddress address) => address switch
    {
        { AddressFamily: AddressFamily.InterNetwork } when address.Equals(IPAddress.Broadcast) => "the broadcast address",
        { AddressFamily: AddressFamily.InterNetwork } when address.GetAddressBytes()[0] is >= 224 and < 240 => "a multicast address",
        { IsIPv6Multicast: true } => "a multicast address",
        { IsIPv6LinkLocal: true } => "a link-local address, which is another machine on each network; use a global or unique local one",
        _ => null,
    };
}
