using System.Security.Cryptography;
using System.Text;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;
using FedRLora.Training.Data;
using FedRLora.Training.Models;
using FedRLora.Training.Models.Weights;

namespace FedRLora.Training.Inputs;

/// <summary>The model folders and rows of this machine.</summary>
public sealed class LocalInputs : IRunInputs
{
    private readonly string _root;
    private readonly FileDigests _digests;

    /// <param name="root">What relative paths of a plan start from.</param>
    public LocalInputs(string root)
        : this(root, FileDigests.OfProcess)
    {
    }

    internal LocalInputs(string root, FileDigests digests) => (_root, _digests) = (Path.GetFullPath(root), digests);

    /// <inheritdoc/>
    public Task<BaseDigest> BaseAsync(FederationPlan plan, CancellationToken cancellationToken = default) =>
        Task.Run(() => BaseOf(Path.GetFullPath(plan.Model.Path, _root), cancellationToken), cancellationToken);

    /// <inheritdoc/>
    public string? VersionOf(string path) => _digests.SettledStampOf(Path.GetFullPath(path, _root))?.ToString();

    /// <inheritdoc/>
    public Task<string> RowsAsync(
        RowSelection rows, ReadOnlyMemory<byte> salt, CancellationToken cancellationToken = default) => Task.Run(async () =>
    {
        using var hash = IncrementalHash.CreateHMAC(HashAlgorithmName.SHA256, salt.Span);
        var left = rows.OrFewer ? rows.Rows ?? int.MaxValue : int.MaxValue;
        await JsonLines.ForEachAsync(Path.GetFullPath(rows.Path, _root), rows.Offset, rows.OrFewer ? null : rows.Rows, (text, _) =>
        {
            if (left-- <= 0) return;
            var bytes = Encoding.UTF8.GetBytes(text);
            hash.AppendData(BitConverter.GetBytes(bytes.LongLength)); // so that no two lists of rows are one text
            hash.AppendData(bytes);
        }, cancellationToken);

        return Convert.ToHexStringLower(hash.GetHashAndReset());
    }, cancellationToken);

    internal BaseDigest BaseOf(string model, CancellationToken cancellationToken)
    {
        GivenPath.RequireModel(model);
        return new([.. ModelFiles.Of(model).OrderBy(static file => file.Name, StringComparer.Ordinal).Select(file =>
        {
            var (sha256, size) = _digests.Of(file.Path, ModelFiles.IsWeights(file.Path), cancellationToken);
            return new BaseFile(file.Name, file.Part, sha256, size);
        })]);
    }
}
