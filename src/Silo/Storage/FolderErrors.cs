using FedRLora.Abstractions.Ports;

namespace FedRLora.Silo.Storage;

/// <summary>Turns what keeps a store's folder from being used for a while into a trouble of the store.</summary>
/// <param name="root">The folder.</param>
/// <param name="marker">What every store makes in it: missing, the folder is another one or not mounted.</param>
internal sealed class FolderErrors(string root, string marker)
{
    /// <summary>Does something with the folder.</summary>
    /// <exception cref="StoreUnavailableException">The folder cannot be used now.</exception>
    public T Watch<T>(Func<T> action)
    {
        try
        {
            return action();
        }
        catch (Exception e) when (Translate(e) is { } unavailable)
        {
            throw unavailable;
        }
    }

    /// <inheritdoc cref="Watch{T}"/>
    public void Watch(Action action) => Watch(() =>
    {
        action();
        return true;
    });

    /// <inheritdoc cref="Watch{T}"/>
    public async Task<T> WatchAsync<T>(Func<Task<T>> action)
    {
        try
        {
            return await action().ConfigureAwait(false);
        }
        catch (Exception e) when (Translate(e) is { } unavailable)
        {
            throw unavailable;
        }
    }

    /// <summary>Tells a blob that is not there from a store that is not: who took one for the other would begin a job anew.</summary>
    /// <exception cref="StoreUnavailableException">The store is not there.</exception>
    public void CheckPresent()
    {
        if (!Directory.Exists(marker)) throw Away(null);
    }

    /// <summary>The same failure as one of the store; null where it is none.</summary>
    public StoreUnavailableException? Translate(Exception exception) => exception switch
    {
        StoreUnavailableException => null,
        _ when DiskErrors.Of(exception) is { } error => new($"Store {root}: {error}, then try again.", exception),
        FileNotFoundException or DirectoryNotFoundException when !Directory.Exists(marker) => Away(exception),
        _ => null,
    };

    private StoreUnavailableException Away(Exception? exception) =>
        new($"Store {root}: the folder is not there or no store; mount it or put it back, then try again.", exception);
}
