using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;

namespace FedRLora.Abstractions.Ports;

/// <summary>The rows of a file that a client reads, in the file's order.</summary>
/// <param name="Path">The file as the plan names it.</param>
/// <param name="Offset">Rows left out at its start.</param>
/// <param name="Rows">Rows taken; null for all that follow.</param>
/// <param name="OrFewer">Whether a file with fewer rows will do.</param>
public sealed record RowSelection(string Path, int Offset, int? Rows, bool OrFewer)
{
    /// <summary>What a client trains on.</summary>
    public static RowSelection Train(ClientSpec client) => new(client.Data.Train, client.Data.Offset, client.Data.Rows, OrFewer: false);

    /// <summary>What a client is scored on, drawn from the whole file; null where it is not.</summary>
    public static RowSelection? Test(ClientSpec client) => client.Data.Test is { } path ? new(path, 0, Rows: null, OrFewer: true) : null;
}

/// <summary>What runs are made with besides their plans, on this machine: the frozen base and the clients' rows.</summary>
public interface IRunInputs
{
    /// <summary>The files of a plan's model folder by their content; files that nobody changed are not read again.</summary>
    /// <exception cref="BadInputException">A file cannot be read, or keeps changing.</exception>
    Task<BaseDigest> BaseAsync(FederationPlan plan, CancellationToken cancellationToken = default);

    /// <summary>
    /// A text that is another one whenever the file may have changed; null where that cannot be told, or there is no file.
    /// </summary>
    string? VersionOf(string path);

    /// <summary>
    /// A digest of rows that says nothing to whoever does not know the salt: a plain one of few rows would confirm guesses.
    /// </summary>
    /// <exception cref="BadInputException">The file cannot be read.</exception>
    Task<string> RowsAsync(RowSelection rows, ReadOnlyMemory<byte> salt, CancellationToken cancellationToken = default);
}
