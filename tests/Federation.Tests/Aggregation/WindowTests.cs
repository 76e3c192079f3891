using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Tensors;
using FedRLora.Federation.Aggregation;
using FedRLora.Federation.Rounds;
using static FedRLora.Federation.Tests.TestPlans;

namespace FedRLora.Federation.Tests.Aggregation;

/// <summary>Updates that are larger than the window through which they go. Runs alone: some of its tests count what is allocated.</summary>
[Collection("alone")]
public sealed class WindowTests
{
    private const int Window = 1 << 16;
    private static readonly string[] Ids = ["a", "b", "c", "d", "e", "f", "g"];
    private static readonly (string Name, int Count)[] Tensors =
    [
        ("a.A", (2 * Window) + (5 * 4096) + 17), .. Enumerable.Range(0, 60).Select(static i => ($"b{i:D2}.A", 100 * (i + 1))),
        ("c.A", 0), ("d.A", 1), ("e.A", Window), ("f.A", Window - 1), ("g.A", 20_000), ("h.A", (3 * Window) + 1),
    ];

    public static TheoryData<string> Rules => [.. StrategyRegistry.Aggregations.Keys];

    [Theory, MemberData(nameof(Rules))]
    public async Task A_cohort_read_by_windows_has_the_bits_of_one_added_whole(string rule)
    {
        var updates = Updates();
        var whole = StrategyRegistry.Aggregations[rule](new() { Rule = rule }).Begin(AdapterShapes.Of(Zeros));
        var shares = Weights.Of(Plan(rule), Ids, Reports);
        foreach (var (client, share) in Ids.Zip(shares)) whole.Add(updates[client], share);
        var expected = whole.Finish();

        var read = await RunAsync(Plan(rule), async client =>
        {
            await Task.Yield();
            return await HeldUpdate.OpenAsync(updates[client]);
        });

        Equal(expected.Update, read.Shared!);
        Assert.Equal(expected.Coherence, read.Coherence);
        Assert.Equal(expected.Curbed.ToDictionary(static one => Ids[one.Key], static one => one.Value), read.Curbed);
    }

    [Fact]
    public async Task A_mean_by_windows_is_added_in_the_order_of_clients_and_rounded_once()
    {
        var updates = Updates();
        var shares = Weights.Of(Plan("mean"), Ids, Reports);

        var read = await RunAsync(Plan("mean"), client => HeldUpdate.OpenAsync(updates[client]));

        foreach (var (name, count) in Tensors)
        {
            var sums = new double[count];
            var share = 0.0;
            foreach (var (client, weight) in Ids.Zip(shares))
            {
                for (var i = 0; i < count; i++) sums[i] += updates[client][name].Data[i] * weight;
                share += weight;
            }

            Assert.Equal(Array.ConvertAll(sums, sum => (float)(sum / share)), read.Shared![name].Data);
        }
    }

    [Theory, MemberData(nameof(Rules))]
    public async Task The_order_of_tensors_in_a_file_changes_no_bit(string rule)
    {
        var updates = Updates();
        var sorted = await RunAsync(Plan(rule), client => HeldUpdate.OpenAsync(updates[client]));

        var mixed = await RunAsync(Plan(rule), client => HeldUpdate.OpenAsync(updates[client], descending: client is "b" or "c" or "f"));

        Equal(sorted.Shared!, mixed.Shared!);
        Assert.Equal(sorted.Coherence, mixed.Coherence);
    }

    [Theory, MemberData(nameof(Rules))]
    public async Task An_update_that_turns_out_at_its_end_to_be_another_is_refused_by_name(string rule)
    {
        var updates = Updates();

        var read = await RunAsync(Plan(rule), client => HeldUpdate.OpenAsync(
            updates[client], end: client is "b" or "g" ? () => throw new BadInputException($"{client} has another digest.") : null));

        Assert.Equal(
            ["b: b has another digest.", "g: g has another digest."], read.Refused.Select(static one => $"{one.Key}: {one.Value}"));
        Assert.Null(read.Shared);
    }

    [Theory, MemberData(nameof(Rules))]
    public async Task Of_several_things_that_are_wrong_the_first_by_name_is_said_wherever_it_lies_in_the_file(string rule)
    {
        var updates = Updates();
        updates["c"] = With(updates["c"], ("h.A", 3 * Window, float.NaN));
        updates["d"] = With(
            updates["d"], ("h.A", Window + 7, float.PositiveInfinity), ("a.A", Window + 5, float.NegativeInfinity));
        updates["e"] = new(updates["e"].Where(static array => array.Key != "g.A"));
        updates["f"] = new(updates["f"].Select(static array => array.Key != "e.A" ? array
            : KeyValuePair.Create(array.Key, array.Value with { Shape = [2, Window / 2] })));
        updates["g"] = new([.. updates["g"], .. State(("z.A", [1]), ("y.A", [1]))]);

        foreach (var descending in new[] { false, true })
        {
            var read = await RunAsync(Plan(rule), client => HeldUpdate.OpenAsync(updates[client], descending));

            Assert.Equal(
                [
                    "c: h.A holds NaN at element 196608.", "d: a.A holds -Infinity at element 65541.", "e: The update has no tensor g.A.",
                    "f: e.A has shape [2, 32768], expected [65536].",
                    "g: The update has tensor y.A, which no client sends in this round.",
                ], read.Refused.Select(static one => $"{one.Key}: {one.Value}"));
        }
    }

    [Theory, InlineData("mean"), InlineData("normBound")]
    public async Task Memory_is_a_window_for_each_reader_whatever_the_number_of_clients(string rule)
    {
        const int Count = 1 << 20; // 4 MB
        await AllocatedAsync(rule, 4, Count); // compiles, and fills the pools
        var few = await AllocatedAsync(rule, 4, Count);
        var many = await AllocatedAsync(rule, 100, Count);

        Assert.True(many.Bytes - few.Bytes < 96 * 16_384, $"{(many.Bytes - few.Bytes) / 96} bytes for each update of 4 MB.");
        Assert.InRange(many.Widest, 1, Window);
        Assert.InRange(many.Open, 1, 4);
    }

    [Theory, InlineData("mean"), InlineData("normBound")]
    public async Task Memory_is_a_window_for_each_reader_whatever_the_size_of_an_update(string rule)
    {
        const int Small = 1 << 18, Large = 1 << 22; // 1 MB and 16 MB
        await AllocatedAsync(rule, 8, Large);
        var small = await AllocatedAsync(rule, 8, Small);
        var large = await AllocatedAsync(rule, 8, Large);

        // The aggregate and the state that it makes, each once; the sums were in the pool already.
        Assert.InRange(large.Bytes - small.Bytes, 0, (2L * sizeof(float) * (Large - Small)) + (1 << 20));
        Assert.InRange(large.Widest, 1, Window);
    }

    private static async Task<(long Bytes, int Widest, int Open)> AllocatedAsync(string rule, int clients, int count)
    {
        string[] ids = [.. Enumerable.Range(0, clients).Select(static i => $"c{i:D3}")];
        var plan = Of(ids).With(strategy => strategy with { Aggregation = new() { Rule = rule } });
        var global = new AdapterState([new("x.A", new NamedArray([count], new float[count]))]);
        var reports = ids.ToDictionary(static id => id, static _ => new KeptReport());
        var made = new Generated.Watch();
        var before = GC.GetTotalAllocatedBytes(precise: true);
        var aggregate = await CohortAggregator.RunAsync(
            plan, 1, global, null, ids, reports, (_, _) => Task.FromResult<IUpdateReader>(new Generated(count, made)));
        var bytes = GC.GetTotalAllocatedBytes(precise: true) - before;
        Assert.All(aggregate.Shared!["x.A"].Data[..100], static value => Assert.Equal(0.5f, value));
        return (bytes, made.Widest, made.MostOpen);
    }

    /// <summary>An update that is nowhere in memory.</summary>
    private sealed class Generated : IUpdateReader
    {
        private readonly Watch _watch;

        public Generated(int count, Watch watch)
        {
            (_watch, Tensors) = (watch, [new("x.A", [count], count)]);
            _watch.Opened();
        }

        public IReadOnlyList<UpdateTensor> Tensors { get; }

        public void Read(Span<float> values)
        {
            _watch.Asked(values.Length);
            values.Fill(0.5f);
        }

        public void Finish()
        {
        }

        public ValueTask DisposeAsync()
        {
            _watch.Closed();
            return ValueTask.CompletedTask;
        }

        public sealed class Watch
        {
            private readonly Lock _gate = new();
            private int _open;

            public int Widest { get; private set; }

            public int MostOpen { get; private set; }

            public void Opened()
            {
                lock (_gate) MostOpen = Math.Max(MostOpen, ++_open);
            }

            public void Closed()
            {
                lock (_gate) _open--;
            }

            public void Asked(int count)
            {
                lock (_gate) Widest = Math.Max(Widest, count);
            }
        }
    }

    private static AdapterState Zeros { get; } = State([.. Tensors.Select(static one => (one.Name, new float[one.Count]))]);

    private static Dictionary<string, KeptReport> Reports { get; } =
        Ids.Index().ToDictionary(static id => id.Item, static id => new KeptReport { Numbers = new() { Samples = 3 + id.Index } });

    private static FederationPlan Plan(string rule)
    {
        var plan = Of(Ids).With(strategy => strategy with { Aggregation = new() { Rule = rule } });
        return plan with { Adapter = plan.Adapter with { Weighting = Weighting.Samples } };
    }

    private static readonly Lazy<Dictionary<string, AdapterState>> Made = new(static () =>
    {
        var drawn = new Random(11);
        return Ids.ToDictionary(static id => id, _ => State([.. Tensors.Select(tensor => (tensor.Name, Values(drawn, tensor.Count)))]));
    });

    private static Dictionary<string, AdapterState> Updates() => new(Made.Value);

    private static AdapterState With(AdapterState state, params (string Tensor, int Element, float Value)[] values)
    {
        var changed = new AdapterState(state.Select(static array =>
            KeyValuePair.Create(array.Key, array.Value with { Data = [.. array.Value.Data] })));
        foreach (var (tensor, element, value) in values) changed[tensor].Data[element] = value;
        return changed;
    }

    private static float[] Values(Random drawn, int count) =>
        [.. Enumerable.Range(0, count).Select(_ => (float)Math.ScaleB(drawn.NextDouble() - 0.5, drawn.Next(-20, 20)))];

    private static Task<CohortAggregate> RunAsync(FederationPlan plan, Func<string, Task<IUpdateReader>> open) =>
        CohortAggregator.RunAsync(plan, 1, Zeros, null, Ids, Reports, (client, _) => open(client));

    private static void Equal(AdapterState expected, AdapterState actual)
    {
        Assert.Equal(expected.Keys, actual.Keys);
        Assert.All(expected, array => Assert.Equal(array.Value.Data, actual[array.Key].Data));
    }
}
