using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Ports;
using FedRLora.Abstractions.Tensors;
using FedRLora.Grains.Store;

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

    [Fact]
    public async Task Of_the_rounds_of_a_job_the_last_two_states_are_kept()
    {
        using var cache = new SiloCache(new NoStores());
        var states = Enumerable.Range(0, 4).Select(static round => Of("job", round)).ToArray();
        var other = Of("other", 9);
        cache.Keep(other, AdapterState.Empty);
        foreach (var state in states) cache.Keep(state, AdapterState.Empty);

        await cache.SharedAsync(states[3], CancellationToken.None);
        await cache.SharedAsync(states[2], CancellationToken.None);
        await cache.SharedAsync(other, CancellationToken.None);
        await Assert.ThrowsAsync<InvalidOperationException>(() => cache.SharedAsync(states[1], CancellationToken.None));
    }

    private static BlobRef Of(string job, int round)
    {
        var sha256 = string.Create(System.Globalization.CultureInfo.InvariantCulture, $"{round:x64}");
        return new(Keys.Shared(job, round, sha256), sha256, 1);
    }

    [Fact]
    public async Task Work_that_ends_after_its_silo_gives_its_place_back_without_a_word()
    {
        var cache = new SiloCache(new NoStores());
        var place = await cache.TurnAsync("job", CancellationToken.None);
        cache.Dispose();

        place.Dispose(); // in mid-step when the silo went down: no failure of its client
    }

    [Fact]
    public async Task A_place_that_is_given_back_goes_to_the_next_of_the_same_job_once()
    {
        using var cache = new SiloCache(new NoStores());
        using var ending = new CancellationTokenSource();
        var places = new List<IDisposable>();
        Task<IDisposable> waiting;
        while ((waiting = cache.TurnAsync("job", ending.Token)).IsCompleted) places.Add(await waiting);
        (await cache.TurnAsync("another", CancellationToken.None).WaitAsync(TimeSpan.FromSeconds(30))).Dispose();
        var next = cache.TurnAsync("job", ending.Token);

        places[0].Dispose();
        places[0].Dispose();
        (await waiting.WaitAsync(TimeSpan.FromSeconds(30))).Dispose();
        (await next.WaitAsync(TimeSpan.FromSeconds(30))).Dispose();
        places[1..].ForEach(static place => place.Dispose());
    }

    private sealed class NoStores : IBlobStores
    {
        public IBlobStore Job => throw new InvalidOperationException("There is no store to read from.");

        public IBlobStore Site => Job;
    }
}
