using System.Runtime.CompilerServices;

namespace FedRLora.ControlPlane.Http;

/// <summary>Streams that have brought their first item, so that what is refused is refused before an answer has begun.</summary>
internal static class Begun
{
    /// <summary>The same items; returns when the first is there, or when there is none.</summary>
    public static async Task<IAsyncEnumerable<T>> AsBegunAsync<T>(this IAsyncEnumerable<T> items, CancellationToken cancellationToken)
    {
        var enumerator = items.GetAsyncEnumerator(cancellationToken);
        try
        {
            return Rest(enumerator, await enumerator.MoveNextAsync(), cancellationToken);
        }
        catch
        {
            await enumerator.DisposeAsync();
            throw;
        }
    }

    private static async IAsyncEnumerable<T> Rest<T>(
        IAsyncEnumerator<T> enumerator, bool isThere, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        await using (enumerator)
        {
            for (; isThere; isThere = await enumerator.MoveNextAsync())
            {
                cancellationToken.ThrowIfCancellationRequested();
                yield return enumerator.Current;
            }
        }
    }
}
