using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Ports;
using FedRLora.Abstractions.Tensors;

namespace FedRLora.Grains.Tests;

public sealed class SiloCacheTests
{
    [Fact]
    public async Task A_state_that_is_kept_again_takes_no_other_jobs_place()
    {
        using var cache = new SiloCache(new NoStores());
        var state = new AdapterState([new("A", new NamedArray([1], [1]))]);
        var other = new BlobRef("jobs/other/shared", "other", 1);
        cache.Keep(other, state);

        for (var round = 0; round < 4; round++) cache.Keep(new BlobRef($"jobs/job/{round}/shared", "same", 1), AdapterState.Empty);

        Assert.Same(state, await cache.SharedAsync(other, CancellationToken.None));
    }

    private sealed class NoStores : IBlobStores
    {
        public IBlobStore Job => throw new InvalidOperationException("There is no store to read from.");

        public IBlobStore Site => Job;
    }
}
