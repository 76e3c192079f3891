using System.Collections.Concurrent;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Ports;
using FedRLora.Grains.Store;

namespace FedRLora.Grains.Clients;

/// <summary>The three files of a client's training. One that is there says nothing about the others.</summary>
internal static class WrittenFiles
{
    private const int AtATime = 16; // a store may be a network away

    /// <summary>What is missing or has another length, file by file in one line, by client.</summary>
    public static async Task<IReadOnlyDictionary<string, string>> MissingAsync(
        IBlobStores stores, string job, string site, IReadOnlyList<ClientFiles> clients, CancellationToken cancellationToken)
    {
        var missing = new ConcurrentDictionary<string, string>(StringComparer.Ordinal);
        var options = new ParallelOptions { MaxDegreeOfParallelism = AtATime, CancellationToken = cancellationToken };
        await Parallel.ForEachAsync(clients, options, async (client, token) =>
        {
            var what = await MissingAsync(
                stores,
                client.Head.At(Keys.Head(job, site, client.ClientId, client.Round)),
                client.Optimizer.At(Keys.Optimizer(job, site, client.ClientId, client.Round)),
                client.Update.At(Keys.Update(job, client.Round, client.Attempt, client.ClientId)),
                token);
            if (what is not null) missing[client.ClientId] = what;
        });
        return new SortedDictionary<string, string>(missing, StringComparer.Ordinal);
    }

    /// <summary>Those that are missing or have another length, in one line; null where none is.</summary>
    public static async Task<string?> MissingAsync(
        IBlobStores stores, BlobRef head, BlobRef optimizer, BlobRef update, CancellationToken cancellationToken)
    {
        string?[] wrong =
        [
            await stores.Site.MissingAsync(head, cancellationToken),
            await stores.Site.MissingAsync(optimizer, cancellationToken),
            await stores.Job.MissingAsync(update, cancellationToken),
        ];
        return wrong.Any(static what => what is not null) ? string.Join(' ', wrong.Where(static what => what is not null)) : null;
    }
}
