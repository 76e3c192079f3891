using System.Globalization;
using System.Runtime.CompilerServices;
using FedRLora.Abstractions.Plans;
using FedRLora.Training;
using FedRLora.Training.Data;
using FedRLora.Training.Devices;
using FedRLora.Training.Models;
using static TorchSharp.torch;

namespace FedRLora.Benchmarks.Training;

/// <summary>
/// The training step beside its references: an eager step as PEFT takes it, its matrix products alone, and itself without grouping.
/// </summary>
internal static class TrainingBenchmark
{
    public const int Rank = 8;

    /// <summary>LoRA on all seven projections, without dropout: what the eager reference computes.</summary>
    public static readonly AdapterSpec Adapter = AdapterCatalog.Methods["lora"].Spec with
    {
        Rank = Rank, Alpha = 2 * Rank, TargetModules = [], Dropout = Dropout.None,
    };

    /// <summary>The eager reference's settings.</summary>
    public static readonly TrainingSpec Training = new() { LearningRate = 1e-3, WeightDecay = 0.01, ClipNorm = 1 };

    private static readonly string[] Parts =
    [
        "steps", "groups", "lanes", "group-size", "ragged", "methods", "waiting", "memory", "round", "peft",
    ];
    public static readonly (string Name, double Share)[] Labelled = [("all", 1), ("25 %", 0.25)];

    /// <summary>Runs the parts that are named, or all, and prints a table for each.</summary>
    /// <param name="args">Parts, and <c>--threads</c>, <c>--device</c>, <c>--runs</c>, <c>--python</c>.</param>
    public static async Task RunAsync(string[] args)
    {
        RuntimeHelpers.RunModuleConstructor(typeof(LocalTrainer).Module.ModuleHandle); // threads wait as in the product, for all contenders
        var (settings, parts) = Settings.Of(args);
        set_num_threads(settings.Threads);
        if (parts is ["measure", var what, var clients])
        {
            if (what == "waiting") Waiting.Measure(settings);
            else TrainingMemory.Measure(what, int.Parse(clients, CultureInfo.InvariantCulture), settings);
            return;
        }

        if (parts is ["serve"])
        {
            Against.Serve(settings);
            return;
        }

        if (parts is ["against", var other, ..])
        {
            Against.Run(other, parts.ElementAtOrDefault(2) ?? "", ["--threads", $"{settings.Threads}", "--device", $"{settings.Device}"],
                settings.Runs);
            return;
        }

        if (parts.Except(Parts, StringComparer.Ordinal).FirstOrDefault() is { } unknown)
            throw new ArgumentException($"{unknown} is none of {string.Join(", ", Parts)}");
        Console.WriteLine($"{settings.Device}, {settings.Threads} threads, medians of {settings.Runs} paired runs; width 288, 6 layers, "
            + $"hidden 768, vocabulary 32,000, rank {Rank} on all projections");
        foreach (var part in parts.Length == 0 ? Parts : parts)
        {
            Console.WriteLine($"\n{part}");
            // a thread's first question or product takes the count that any thread set last, so it comes before its own
            _ = get_num_threads();
            set_num_threads(settings.Threads);
            if (part == "memory") await TrainingMemory.RunAsync(settings);
            else if (part == "round") await RoundThroughput.RunAsync(settings);
            else if (part == "waiting") await Waiting.RunAsync(settings);
            else if (part == "peft") await PeftStep.RunAsync(settings);
            else if (part == "lanes") Lanes.Run(settings);
            else if (part == "group-size") GroupSizes.Run(settings);
            else Time(part, settings);
        }
    }

    private static void Time(string part, Settings settings)
    {
        using var model = BenchmarkModel.Create(settings.Device);
        var contest = new Contest(settings.Device, settings.Runs);
        Console.WriteLine(Pairs.TimeHead);
        if (part == "methods")
        {
            Methods(model, contest);
            return;
        }

        if (part == "steps")
        {
            foreach (var threads in ((int[])[1, settings.Threads]).Distinct())
            {
                set_num_threads(threads);
                foreach (var (name, share) in Labelled)
                    OneClient($"1 client, 4 x 128, {name}, threads {threads}", model, contest, Batches.Even(1, 4, 128, share));
            }

            return;
        }

        foreach (var (name, share) in Labelled)
        {
            if (part == "ragged") Group($"8 clients, 4 x 20..128, {name} labelled", model, contest, Batches.Ragged(8, 4, 20, 128, share));
            else
                foreach (var (rows, tokens) in ((int, int)[])[(1, 32), (4, 64)])
                    Group($"8 clients, {rows} x {tokens}, {name} labelled", model, contest, Batches.Even(8, rows, tokens, share));
        }
    }

    private static void OneClient(string name, CausalLanguageModel model, Contest contest, IReadOnlyList<EncodedRow[]> batches)
    {
        using var ours = new OurStep(model, Adapter, Training, 1);
        using var eager = new EagerGroup(model, Rank, batches);
        using var floor = new ProductsFloor(model, Rank, batches[0].Sum(static row => row.Ids.Length),
            batches[0].Sum(static row => row.LossTokens));
        Compare(ours, eager, batches);
        var taken = contest.Measure([("eager", eager.Step), ("ours", () => ours.Step(batches)), ("floor", floor.Step)]);
        Print(name, "step", "eager", taken["ours"], taken["eager"]);
        Print(name, "step", "matrix products alone", taken["ours"], taken["floor"]);
    }

    private static void Group(string name, CausalLanguageModel model, Contest contest, IReadOnlyList<EncodedRow[]> batches)
    {
        using var ours = new OurStep(model, Adapter, Training, batches.Count);
        var alone = OurStep.InTurn(model, Adapter, Training, [.. batches.Select(static _ => 1)]);
        using var eager = new EagerGroup(model, Rank, batches);
        Compare(ours, eager, batches);
        var taken = contest.Measure(
        [
            ("eager", eager.Step), ("ours", () => ours.Step(batches)),
            ("alone", () => { foreach (var (client, batch) in alone.Zip(batches)) client.Step([batch]); }),
        ]);
        Print(name, "batched", "eager, one after another", taken["ours"], taken["eager"]);
        Print(name, "batched", "ours, one after another", taken["ours"], taken["alone"]);
        Print(name, "ours, one after another", "eager, one after another", taken["alone"], taken["eager"]);
        foreach (var client in alone) client.Dispose();
    }

    private static void Methods(CausalLanguageModel model, Contest contest)
    {
        const string Reference = "lora without dropout";
        var batches = Batches.Even(1, 4, 128, 0.25);
        var methods = AdapterCatalog.Methods
            .Select(static method => (Name: method.Key, Spec: method.Value.Spec with { Rank = Rank, Alpha = 2 * Rank, TargetModules = [] }))
            .Prepend((Name: Reference, Spec: Adapter))
            .Select(method => (method.Name, Step: new OurStep(model, method.Spec, Training, 1))).ToList();
        var taken = contest.Measure([.. methods.Select(method => (method.Name, (Action)(() => method.Step.Step(batches))))]);
        foreach (var (name, step) in methods)
        {
            if (name != Reference) Print("1 client, 4 x 128, 25 % labelled", name, Reference, taken[name], taken[Reference]);
            step.Dispose();
        }
    }

    // Both must compute the same, or their times mean nothing.
    public static void Compare(OurStep ours, EagerGroup eager, IReadOnlyList<EncodedRow[]> batches)
    {
        const int Steps = 3;
        const float Tolerance = 2e-3f;
        eager.Load(ours.Initial);
        for (var step = 0; step < Steps; step++)
        {
            ours.Step(batches);
            eager.Step();
        }

        var (our, other) = (ours.Loss(batches[0]), eager.Loss());
        if (!(Math.Abs(our - other) < Tolerance))
            throw new InvalidOperationException($"after {Steps} steps our loss is {our}, that of the eager reference {other}");
    }

    private static void Print(string name, string ours, string reference, Times our, Times other) =>
        Console.WriteLine(Pairs.TimeRow(name, ours, reference, our, other));
}

/// <summary>What the command line says.</summary>
internal sealed record Settings
{
    private const int LeastRuns = 5;

    /// <summary>Threads of a matrix product.</summary>
    public int Threads { get; private init; } = Environment.ProcessorCount;

    /// <summary>Where the model is.</summary>
    public Device Device { get; private init; } = CPU;

    /// <summary>Paired runs of a case.</summary>
    public int Runs { get; private init; } = 7;

    /// <summary>The Python of the part <c>peft</c>.</summary>
    public string Python { get; private init; } = "python3";

    /// <summary>The settings, and what else was given.</summary>
    /// <exception cref="ArgumentException">An option that is not known, or without a value that it takes.</exception>
    public static (Settings Settings, string[] Others) Of(string[] args)
    {
        var (settings, others) = (new Settings(), new List<string>());
        for (var i = 0; i < args.Length; i++)
        {
            if (!args[i].StartsWith("--", StringComparison.Ordinal))
            {
                others.Add(args[i]);
                continue;
            }

            var value = i + 1 < args.Length ? args[++i] : throw new ArgumentException($"{args[i]} lacks its value");
            settings = args[i - 1] switch
            {
                "--threads" => settings with { Threads = Count(value, 1) },
                "--device" => settings with { Device = Deterministic(device(value)) },
                "--runs" => settings with { Runs = Count(value, LeastRuns) },
                "--python" => settings with { Python = value },
                var unknown => throw new ArgumentException($"{unknown} is none of --threads, --device, --runs, --python"),
            };
        }

        return (settings, [.. others]);
    }

    // As a silo computes there.
    private static Device Deterministic(Device device)
    {
        Determinism.Require(device);
        return device;
    }

    private static int Count(string text, int least) =>
        int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var count) && count >= least
            ? count
            : throw new ArgumentException($"{text} is not a number of at least {least}");
}
