using System.Collections.Concurrent;
using System.Security.Cryptography;
using System.Text;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;

namespace FedRLora.Grains.Tests;

/// <summary>
/// A base and rows that a test exchanges by writing other texts: weights.bin and tokenizer.json, and a file for each path.
/// </summary>
internal sealed class FakeInputs : IRunInputs
{
    private readonly ConcurrentDictionary<string, string> _files = new(StringComparer.Ordinal);
    private int _readings;

    /// <summary>How often rows were read.</summary>
    public int Readings => _readings;

    /// <summary>The content of a file; by default its name.</summary>
    public string this[string file]
    {
        get => _files.GetOrAdd(file, static name => name);
        set => _files[file] = value;
    }

    public Task<BaseDigest> BaseAsync(FederationPlan plan, CancellationToken cancellationToken = default)
    {
        if (this["config.json"].Length == 0) throw new BadInputException($"{plan.Model.Path}/config.json: no such file");
        return Task.FromResult(new BaseDigest(
        [
            File("config.json", BasePart.Config), File("tokenizer.json", BasePart.Tokenizer), File("weights.bin", BasePart.Weights),
        ]));
    }

    public string? VersionOf(string path) => this[path];

    public Task<string> RowsAsync(RowSelection rows, ReadOnlyMemory<byte> salt, CancellationToken cancellationToken = default)
    {
        Interlocked.Increment(ref _readings);
        if (this[rows.Path].Length == 0) throw new BadInputException($"{rows.Path}: no such file");
        return Task.FromResult(Convert.ToHexStringLower(HMACSHA256.HashData(salt.Span,
            Encoding.UTF8.GetBytes($"{rows.Offset} {rows.Rows} {this[rows.Path]}"))));
    }

    private BaseFile File(string name, BasePart part) =>
        new(name, part, RoundManifest.Digest(Encoding.UTF8.GetBytes(this[name])), this[name].Length);
}
