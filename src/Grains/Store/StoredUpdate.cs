using System.Security.Cryptography;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Ports;
using FedRLora.Abstractions.Tensors;
using FedRLora.Federation.Aggregation;

namespace FedRLora.Grains.Store;

/// <summary>
/// An update in a store, hashed while it is read: whoever has read it to its end knows whether it is the one that was named.
/// </summary>
internal sealed class StoredUpdate : IUpdateReader
{
    private readonly BlobRef _blob;
    private readonly OpenedBlob _opened;
    private readonly IncrementalHash _hash;
    private readonly HashingReader _hashing;
    private readonly SafetensorsReader _reader;

    private StoredUpdate(BlobRef blob, OpenedBlob opened)
    {
        (_blob, _opened, _hash) = (blob, opened, IncrementalHash.CreateHash(HashAlgorithmName.SHA256));
        _hashing = new(opened.Content, _hash);
        try
        {
            _reader = new SafetensorsReader(_hashing, opened.SizeBytes, blob.Key);
        }
        catch (BadInputException)
        {
            throw NotSafetensors();
        }

        Tensors = [.. _reader.Tensors.Select(static tensor => new UpdateTensor(tensor.Name, tensor.Shape, checked((int)tensor.Count)))];
    }

    /// <summary>Opens it.</summary>
    /// <exception cref="BadInputException">It is missing, or not what was named.</exception>
    public static async Task<IUpdateReader> OpenAsync(IBlobStore store, BlobRef blob, CancellationToken cancellationToken)
    {
        var opened = await store.OpenAsync(blob.Key, cancellationToken)
            ?? throw new BadInputException($"{blob.Key} is missing; it should hold {blob.Sha256}.");
        try
        {
            return new StoredUpdate(blob, opened);
        }
        catch
        {
            await opened.DisposeAsync();
            throw;
        }
    }

    /// <inheritdoc/>
    public IReadOnlyList<UpdateTensor> Tensors { get; }

    /// <inheritdoc/>
    public void Read(Span<float> values)
    {
        try
        {
            _reader.Read(values);
        }
        catch (BadInputException)
        {
            throw NotSafetensors();
        }
    }

    /// <inheritdoc/>
    public void Finish()
    {
        try
        {
            _reader.ExpectEnd();
        }
        catch (BadInputException)
        {
            throw NotSafetensors();
        }

        CheckDigest();
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        _hash.Dispose();
        await _opened.DisposeAsync();
    }

    // Its digest comes first: where that is another, this is not the blob that was named.
    private BadInputException NotSafetensors()
    {
        CheckDigest();
        return new($"{_blob.Key} is not a safetensors file.");
    }

    private void CheckDigest()
    {
        _hashing.CopyTo(Stream.Null);
        var found = Convert.ToHexStringLower(_hash.GetHashAndReset());
        if (found != _blob.Sha256) throw new BadInputException(BlobStates.Mismatch(_blob, found).Message);
    }
}
