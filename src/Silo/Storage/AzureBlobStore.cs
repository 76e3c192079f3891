using System.Runtime.CompilerServices;
using Azure;
using Azure.Core;
using Azure.Storage.Blobs;
using Azure.Storage.Blobs.Models;
using Azure.Storage.Blobs.Specialized;
using FedRLora.Abstractions.Ports;

namespace FedRLora.Silo.Storage;

/// <summary>
/// Blobs in a container of Azure Blob Storage, under an optional prefix. Small content is one request; larger content is staged
/// in blocks that nobody sees until one last request commits them, with the write's condition. Requests are retried with
/// exponential backoff and jitter within <see cref="AzureStoreOptions.Budget"/>; then a <see cref="StoreUnavailableException"/>
/// says why. A large blob that is written over while it is read ends its reader with that exception, never with a mixture.
/// </summary>
public sealed class AzureBlobStore : IBlobStore
{
    private const int Deletions = 16; // at a time
    private readonly BlobContainerClient _container;
    private readonly string _prefix;
    private readonly AzureStoreOptions _options;
    private readonly StoreRequests _requests;
    private volatile bool _containerMade;

    /// <param name="name">What messages call the store; holds no secret.</param>
    /// <param name="prefix">What stands before every key: empty, or segments that end with '/'.</param>
    /// <param name="credentials">What opens the store, as messages name it: a variable, an identity.</param>
    /// <param name="open">Makes the container's client from options that carry the retries.</param>
    /// <param name="options">Times and sizes.</param>
    public AzureBlobStore(
        string name, string prefix, string credentials, Func<BlobClientOptions, BlobContainerClient> open,
        AzureStoreOptions? options = null)
    {
        _prefix = prefix;
        _options = options ?? new AzureStoreOptions();
        _requests = new StoreRequests(name, credentials, _options.Budget);
        _container = open(ClientOptions(_options));
    }

    /// <inheritdoc/>
    public async Task<WrittenBlob> WriteAsync(
        string key, Func<Stream, CancellationToken, Task> content, WriteCondition condition, CancellationToken cancellationToken = default)
    {
        var blob = BlobOf(key);
        await MakeContainerAsync(cancellationToken).ConfigureAwait(false);
        using var writer = new BlockWriter(key, blob, condition, _requests, _options.BlockBytes, cancellationToken);
        await content(writer, cancellationToken).ConfigureAwait(false);
        return await writer.CommitAsync().ConfigureAwait(false);
    }

    /// <inheritdoc/>
    public async Task<OpenedBlob?> OpenAsync(string key, CancellationToken cancellationToken = default)
    {
        var blob = BlobOf(key);
        await MakeContainerAsync(cancellationToken).ConfigureAwait(false);
        var reader = await RangeReader.OpenAsync(key, blob, _requests, _options.BlockBytes, cancellationToken).ConfigureAwait(false);
        return reader is null ? null : new OpenedBlob(reader, () => reader.ETag, reader.Length);
    }

    /// <inheritdoc/>
    public async IAsyncEnumerable<string> ListAsync(string prefix, [EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        var options = new GetBlobsOptions { Prefix = _prefix + BlobKeys.CheckPrefix(prefix) };
        await MakeContainerAsync(cancellationToken).ConfigureAwait(false);
        string? next = null;
        do
        {
            var from = next;
            var page = await _requests.RunAsync(async token => await _container.GetBlobsAsync(options, token)
                .AsPages(from, _options.KeysPerPage).FirstAsync(token).ConfigureAwait(false), cancellationToken).ConfigureAwait(false);
            foreach (var blob in page.Values) yield return blob.Name[_prefix.Length..]; // the service lists in ordinal order
            next = page.ContinuationToken;
        }
        while (!string.IsNullOrEmpty(next));
    }

    /// <inheritdoc/>
    public async Task DeleteAsync(string key, CancellationToken cancellationToken = default)
    {
        var blob = BlobOf(key);
        await MakeContainerAsync(cancellationToken).ConfigureAwait(false);
        await _requests.RunAsync(token => blob.DeleteIfExistsAsync(cancellationToken: token), cancellationToken).ConfigureAwait(false);
    }

    /// <inheritdoc/>
    public async Task DeleteAllAsync(string prefix, CancellationToken cancellationToken = default)
    {
        var folder = BlobKeys.Check(prefix.TrimEnd('/')) + "/";
        var parallel = new ParallelOptions { MaxDegreeOfParallelism = Deletions, CancellationToken = cancellationToken };
        await Parallel.ForEachAsync(ListAsync(folder, cancellationToken), parallel,
            async (key, token) => await DeleteAsync(key, token).ConfigureAwait(false)).ConfigureAwait(false);
    }

    /// <summary>Nothing: what Azure has answered is on its disks.</summary>
    public Task MakeDurableAsync(CancellationToken cancellationToken = default) => Task.CompletedTask;

    private BlockBlobClient BlobOf(string key) => _container.GetBlockBlobClient(_prefix + BlobKeys.Check(key));

    // Once: a container that vanishes later is a store that is away, not an empty one.
    private async Task MakeContainerAsync(CancellationToken cancellationToken)
    {
        if (_containerMade) return;
        await _requests.RunAsync(async token =>
        {
            try
            {
                await _container.CreateIfNotExistsAsync(cancellationToken: token).ConfigureAwait(false);
            }
            catch (RequestFailedException e) when (e.Status == 403)
            {
                // Credentials for one container may not make it; whether it is there, the request that follows says.
            }

            return true;
        }, cancellationToken).ConfigureAwait(false);
        _containerMade = true;
    }

    private static BlobClientOptions ClientOptions(AzureStoreOptions options)
    {
        var client = new BlobClientOptions();
        client.Retry.Mode = RetryMode.Exponential;
        client.Retry.Delay = options.FirstDelay;
        client.Retry.MaxDelay = options.LongestDelay;
        client.Retry.MaxRetries = int.MaxValue; // the budget ends them
        client.Retry.NetworkTimeout = options.NetworkTimeout;
        client.Diagnostics.IsTelemetryEnabled = false; // no word of this machine in a header
        client.AddPolicy(new RequestTries.Policy(), HttpPipelinePosition.PerRetry);
        return client;
    }
}
