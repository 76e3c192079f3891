using FedRLora.Abstractions;
using FedRLora.ControlPlane.Access;
using FedRLora.Training.Inputs;

namespace FedRLora.Client.Control;

/// <summary>The secret that a silo asks for, as a file has it.</summary>
/// <param name="Path">The file; empty where none was named and this user's own are of no use, on another machine.</param>
/// <param name="Value">What is in it; null where there is no such file.</param>
internal sealed record Token(string Path, string? Value)
{
    /// <summary>The token of a file that was named; else the one that this user's own silo on a port keeps, if there is one.</summary>
    /// <exception cref="BadInputException">The file cannot be read, others may read it, or it holds no token.</exception>
    public static Token Read(string? named, int? port)
    {
        if (named is null && port is null) return new("", Value: null); // the tokens of this machine's silos are nobody else's business
        var path = named ?? TokenFiles.PathFor(port!.Value);
        if (named is null && !File.Exists(path)) return new(path, Value: null);
        GivenPath.RequirePlainFile(path);
        return new(path, TokenFiles.Read(path));
    }
}
