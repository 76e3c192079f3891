using FedRLora.Training.Lanes;

namespace FedRLora.Training.Tests.Lanes;

/// <summary>The queue by itself: who starts when.</summary>
public sealed class AdmissionQueueTests
{
    private readonly Dictionary<string, LaneDemand> _demands = [];
    private readonly Dictionary<string, string> _same = []; // the queue knows work by its object

    [Fact]
    public void Work_of_one_run_starts_in_the_order_in_which_it_came()
    {
        var queue = new AdmissionQueue<string>(cores: 1, bytes: 100);
        Add(queue, "a1", "a");
        Add(queue, "a2", "a");
        Add(queue, "a3", "a");

        Assert.Equal(["a1", "a2", "a3"], InTurn(queue));
    }

    [Fact]
    public void Runs_take_turns_so_a_second_one_starts_after_one_group_of_the_first()
    {
        var queue = new AdmissionQueue<string>(cores: 1, bytes: 100);
        for (var i = 1; i <= 4; i++) Add(queue, $"a{i}", "a");
        Assert.True(queue.TryTake(out var running));
        Add(queue, "b1", "b");
        Add(queue, "b2", "b");
        Add(queue, "c1", "c");
        queue.Free(running);

        // The first run is behind those that came while its first group ran.
        Assert.Equal(["a2", "b1", "c1", "a3", "b2", "a4"], InTurn(queue));
    }

    [Fact]
    public void As_much_starts_as_cores_and_memory_are_free()
    {
        var queue = new AdmissionQueue<string>(cores: 3, bytes: 100);
        Add(queue, "a1", "a", bytes: 60);
        Add(queue, "a2", "a", bytes: 40);
        Add(queue, "a3", "a", bytes: 1);

        Assert.Equal(["a1", "a2"], Started(queue));
        queue.Free(_same["a2"]);
        Assert.Equal(["a3"], Started(queue));
    }

    [Fact]
    public void What_fits_goes_past_what_does_not_only_as_far_as_it_leaves_that_what_it_needs()
    {
        var queue = new AdmissionQueue<string>(cores: 4, bytes: 100);
        Add(queue, "wide", "a", threads: 3);
        Add(queue, "x", "b");
        Add(queue, "y", "b");
        Assert.Equal(["wide", "x"], Started(queue));
        Add(queue, "wider", "a", threads: 3);

        // "y" waits longest and goes first; then one core is free, of which the wide one keeps what it needs.
        queue.Free(_same["x"]);
        Assert.Equal(["y"], Started(queue));
        Add(queue, "z", "b");
        queue.Free(_same["y"]);
        Assert.Equal(["z"], Started(queue)); // 1 of 4 beside 3 of "wider"
        Add(queue, "z2", "b");
        queue.Free(_same["wide"]);
        Assert.Equal(["wider"], Started(queue));
    }

    [Fact]
    public void A_wide_piece_of_work_does_not_starve_beside_a_stream_of_narrow_ones()
    {
        var queue = new AdmissionQueue<string>(cores: 2, bytes: 100);
        Add(queue, "n0", "narrow");
        Add(queue, "n1", "narrow");
        Assert.Equal(["n0", "n1"], Started(queue));
        Add(queue, "wide", "wide", threads: 2);
        for (var i = 2; i < 10; i++) Add(queue, $"n{i}", "narrow");

        queue.Free(_same["n0"]);
        Assert.Empty(Started(queue)); // the free core is kept for it
        queue.Free(_same["n1"]);
        Assert.Equal(["wide"], Started(queue));
    }

    [Fact]
    public void What_asks_for_more_than_there_is_has_the_device_alone()
    {
        var queue = new AdmissionQueue<string>(cores: 2, bytes: 100);
        Add(queue, "huge", "a", threads: 64, bytes: 1L << 50);
        Add(queue, "next", "a");
        Assert.Equal(["huge"], Started(queue));
        queue.Free(_same["huge"]);
        Assert.Equal(["next"], Started(queue));
    }

    [Fact]
    public void What_is_taken_back_no_longer_keeps_anything_free()
    {
        var queue = new AdmissionQueue<string>(cores: 2, bytes: 100);
        Add(queue, "a1", "a");
        Assert.Equal(["a1"], Started(queue));
        Add(queue, "wide", "b", threads: 2);
        Add(queue, "a2", "a");
        Assert.Empty(Started(queue));

        Assert.True(queue.Remove(_same["wide"]));
        Assert.False(queue.Remove(_same["wide"]));
        Assert.False(queue.Remove(_same["a1"]));
        Assert.Equal(["a2"], Started(queue));
    }

    /// <summary>Whatever comes, all of it starts once, and never more at a time than there is.</summary>
    [Theory, InlineData(1), InlineData(2), InlineData(5)]
    public void Of_any_mixture_everything_starts_within_the_bounds(int cores)
    {
        for (var seed = 0; seed < 200; seed++)
        {
            var random = new Random(seed);
            var queue = new AdmissionQueue<string>(cores, bytes: 100);
            var (left, running, started) = (60, new List<string>(), new List<string>());
            while (left > 0 || started.Count < 60)
            {
                if (left > 0 && random.Next(2) == 0)
                    Add(queue, $"{seed}/{left--}", $"run {random.Next(3)}", random.Next(1, 8), random.Next(0, 150));
                else if (running.Count > 0)
                {
                    var ended = running[random.Next(running.Count)];
                    running.Remove(ended);
                    queue.Free(ended);
                }

                var now = Started(queue);
                running.AddRange(now);
                started.AddRange(now);
                Assert.InRange(running.Sum(work => Math.Min(cores, _demands[work].Threads)), 0, cores);
                Assert.InRange(running.Sum(work => Math.Min(100, _demands[work].Bytes)), 0, 100);
                Assert.True(running.Count > 0 || left + started.Count == 60, "nothing runs and something waits");
            }

            Assert.Equal(60, started.Distinct().Count());
        }
    }

    private void Add(AdmissionQueue<string> queue, string work, string run, int threads = 1, long bytes = 0) =>
        queue.Add(_demands[work] = new(run, threads, bytes), _same[work] = work);

    private static List<string> Started(AdmissionQueue<string> queue)
    {
        var started = new List<string>();
        while (queue.TryTake(out var work)) started.Add(work);
        return started;
    }

    private List<string> InTurn(AdmissionQueue<string> queue)
    {
        var order = new List<string>();
        while (queue.TryTake(out var work))
        {
            order.Add(work);
            queue.Free(work);
        }

        return order;
    }
}
