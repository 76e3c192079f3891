using System.Globalization;
using System.Net;
using FedRLora.Abstractions;

namespace FedRLora.ControlPlane;

/// <summary>Where a control plane listens, and which file keeps its token.</summary>
public sealed record ControlOptions
{
    /// <summary>Where the first silo of a machine listens, unless told otherwise.</summary>
    public const int DefaultPort = 8470;

    /// <summary>What <c>--control</c> accepts.</summary>
    public const string Forms = "PORT, or a loopback address with a port, as 127.0.0.1:8470";

    /// <summary>The address: loopback; port 0 takes a free one.</summary>
    public required IPEndPoint Address { get; init; }

    /// <summary>The file with the operator's token, made where it is not there; null for the one that the port names.</summary>
    public string? TokenFile { get; init; }

    /// <summary>Whether Orleans' own dashboard is there, for operators.</summary>
    public bool OrleansDashboard { get; init; }

    /// <summary>Whether the process is there for one run and ends with it: others are not begun, and its plan stays as it is.</summary>
    public bool IsOfOneRun { get; init; }

    /// <summary>A port of 127.0.0.1.</summary>
    public static ControlOptions OnPort(int port) => new() { Address = new(IPAddress.Loopback, port) };

    /// <summary>Reads <see cref="Forms"/>.</summary>
    /// <exception cref="BadInputException">It is neither, or others than this machine could reach the address.</exception>
    public static IPEndPoint Parse(string text)
    {
        if (int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var port) && port is > 0 and <= ushort.MaxValue)
            return new(IPAddress.Loopback, port);
        var named = text.StartsWith("localhost:", StringComparison.OrdinalIgnoreCase) ? $"127.0.0.1{text["localhost".Length..]}" : text;
        if (!IPEndPoint.TryParse(named, out var address) || address.Port == 0)
            throw new BadInputException($"--control: '{BadInputException.Shown(text)}' is no address to listen on; give {Forms}");
        return IPAddress.IsLoopback(address.Address)
            ? address
            : throw new BadInputException($"--control: {address} can be reached from other machines, and this version has neither TLS nor "
                + $"sign-in for that; give {Forms}, and reach it through an SSH tunnel");
    }
}
