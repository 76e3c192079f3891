using System.Collections.Concurrent;
using FedRLora.Training.Data;
using FedRLora.Training.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Benchmarks.Training;

/// <summary>
/// Eight clients as groups on lanes: one thread for a group and as many groups at once as there are threads, beside one lane of one
/// thread, one lane whose products take all threads, and the eager step on all threads.
/// </summary>
internal static class Lanes
{
    private const int Clients = 8;
    private const string Eager = "eager, one after another";

    public static void Run(Settings settings)
    {
        if (settings.Device.type != DeviceType.CPU || settings.Threads == 1)
        {
            Console.WriteLine("lanes are threads of a CPU: run this part with --device cpu and two threads or more");
            return;
        }

        using var model = BenchmarkModel.Create(settings.Device);
        var lanes = Enumerable.Range(0, Math.Min(settings.Threads, Clients)).Select(static _ => new Lane()).ToList();
        Console.WriteLine($"reference: {Eager}, {settings.Threads} threads");
        Console.WriteLine(Pairs.TimeHead);
        foreach (var (rows, tokens) in ((int, int)[])[(1, 32), (4, 64)])
            foreach (var (labelled, share) in TrainingBenchmark.Labelled)
                Compare($"{Clients} clients, {rows} x {tokens}, {labelled} labelled", model, settings, lanes,
                    Batches.Even(Clients, rows, tokens, share));
        lanes.ForEach(static lane => lane.Dispose());
    }

    private static void Compare(
        string name, CausalLanguageModel model, Settings settings, IReadOnlyList<Lane> lanes, IReadOnlyList<EncodedRow[]> batches)
    {
        using var eager = new EagerGroup(model, TrainingBenchmark.Rank, batches);
        using var wide = new OurStep(model, TrainingBenchmark.Adapter, TrainingBenchmark.Training, Clients);
        TrainingBenchmark.Compare(wide, eager, batches);
        var shares = new List<(string Name, Share[] Shares)>();
        foreach (var count in ((int[])[1, lanes.Count]).Distinct())
        {
            var each = batches.Chunk((Clients + count - 1) / count).ToList();
            for (var size = each[0].Length; size > 0; size /= 2)
                shares.Add(
                    ($"{count} of 1 thread, groups of {size}", [.. each.Select((own, lane) => new Share(lanes[lane], model, own, size))]));
        }

        var wideName = $"1 of {settings.Threads} threads, group of {Clients}";
        var taken = new Contest(settings.Device, settings.Runs).Measure(
        [
            (Eager, eager.Step), (wideName, () => wide.Step(batches)),
            .. shares.Select(static way => (way.Name, (Action)(() => Lane.Together([.. way.Shares.Select(static share => share.Step)])))),
        ]);
        foreach (var way in shares.Select(static way => way.Name).Prepend(wideName))
            Console.WriteLine(Pairs.TimeRow(name, way, "eager", taken[way], taken[Eager]));
        foreach (var share in shares.SelectMany(static way => way.Shares)) share.Dispose();
    }

    /// <summary>What a lane has of the clients: groups that it trains in turn.</summary>
    private sealed class Share : IDisposable
    {
        private readonly Lane _lane;
        private readonly List<EncodedRow[][]> _batches;
        private IReadOnlyList<OurStep> _groups = [];

        public Share(Lane lane, CausalLanguageModel model, EncodedRow[][] batches, int size)
        {
            (_lane, _batches) = (lane, [.. batches.Chunk(size)]);
            int[] members = [.. _batches.Select(static group => group.Length)];
            Lane.Together([(lane, () => _groups = OurStep.InTurn(model, TrainingBenchmark.Adapter, TrainingBenchmark.Training, members))]);
        }

        public (Lane Lane, Action Work) Step => (_lane, () =>
        {
            foreach (var (group, batches) in _groups.Zip(_batches)) group.Step(batches);
        });

        public void Dispose() => Lane.Together([(_lane, () =>
        {
            foreach (var group in _groups) group.Dispose();
        })]);
    }

    /// <summary>A thread that lives as long as the benchmark, with one thread for its products.</summary>
    private sealed class Lane : IDisposable
    {
        private readonly BlockingCollection<Action> _queue = [];
        private readonly Thread _thread;

        public Lane()
        {
            _thread = new Thread(() =>
            {
                _ = get_num_threads(); // as in the main thread
                set_num_threads(1);
                foreach (var work in _queue.GetConsumingEnumerable()) work();
            }) { Name = "lane" };
            _thread.Start();
        }

        /// <summary>Begins each on its lane and waits for all.</summary>
        /// <exception cref="AggregateException">What some threw.</exception>
        public static void Together(IReadOnlyCollection<(Lane Lane, Action Work)> all)
        {
            using var left = new CountdownEvent(all.Count);
            var failures = new ConcurrentQueue<Exception>();
            foreach (var (lane, work) in all)
            {
                lane._queue.Add(() =>
                {
                    try
                    {
                        work();
                    }
                    catch (Exception exception)
                    {
                        failures.Enqueue(exception);
                    }

                    left.Signal();
                });
            }

            left.Wait();
            if (!failures.IsEmpty) throw new AggregateException(failures);
        }

        public void Dispose()
        {
            _queue.CompleteAdding();
            _thread.Join();
            _queue.Dispose();
        }
    }
}
