using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;
using FedRLora.Training;
using FedRLora.Training.Models;

namespace FedRLora.Benchmarks;

/// <summary>
/// What a frozen base costs in memory: a model of Qwen2's shape in two shards, drawn at random and written without ever being held,
/// is loaded by a trainer that takes one LoRA step, in a process of its own whose peak is read at its end.
/// </summary>
internal static class Loading
{
    private const int Shards = 2;
    private static readonly int[] Lengths = [16, 128, 512];
    private static readonly string[][] Targets = [["q_proj", "v_proj"], []];

    private static readonly ModelConfig Config = new()
    {
        ModelType = "qwen2", HiddenSize = 896, IntermediateSize = 4864, Layers = 16, AttentionHeads = 14, KeyValueHeads = 2, HeadDim = 64,
        VocabularySize = 32_000, MaxPositions = 4096, NormEpsilon = 1e-6, RopeTheta = 1e6, TieWordEmbeddings = true,
    };

    // What the program takes whatever the model's size.
    private static readonly ModelConfig Small = Config with { HiddenSize = 64, IntermediateSize = 64, Layers = 1, VocabularySize = 64 };

    /// <summary>Writes models, measures them, and prints a table.</summary>
    public static async Task RunAsync(string[] args)
    {
        if (args is ["measure", var given, var length, .. var named])
        {
            await MeasureAsync(given, int.Parse(length, CultureInfo.InvariantCulture), named);
            return;
        }

        var weights = ModelRegistry.ExpectedParameters(Config).Sum(ModelFolder.Count) * sizeof(float) / 1e6;
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"weights in float32: {weights:F0} MB"));
        Console.WriteLine("stored  LoRA on     tokens  seconds  peak MB  of a tiny model  difference / weights  beyond weights MB");
        foreach (var stored in (string[])["F32", "BF16"])
        {
            var (folder, small) = (Directory.CreateTempSubdirectory("fedrlora-loading-").FullName,
                Directory.CreateTempSubdirectory("fedrlora-loading-").FullName);
            try
            {
                Write(folder, Config, stored);
                Write(small, Small, stored);
                foreach (var targets in Targets)
                    foreach (var tokens in Lengths)
                    {
                        var ((seconds, peak), (_, floor)) = (await ChildAsync(folder, tokens, targets),
                            await ChildAsync(small, Lengths[0], targets));
                        Console.WriteLine(string.Create(CultureInfo.InvariantCulture,
                            $"{stored,6}  {(targets.Length == 0 ? "all linear" : "q and v"),-10}  {tokens,6}  {seconds,7:F1}  {peak,7:F0}  "
                                + $"{floor,15:F0}  {(peak - floor) / weights,20:F3}  {peak - floor - weights,17:F0}"));
                    }
            }
            finally
            {
                Directory.Delete(folder, recursive: true);
                Directory.Delete(small, recursive: true);
            }
        }
    }

    private static async Task<(double Seconds, double PeakMegabytes)> ChildAsync(string folder, int tokens, string[] targets)
    {
        var numbers = await ChildProcess.RunAsync(
            ["loading", "measure", folder, tokens.ToString(CultureInfo.InvariantCulture), .. targets]);
        return (numbers[0], numbers[1]);
    }

    // Prints the seconds for loading and one step, and the process's peak.
    private static async Task MeasureAsync(string folder, int tokens, string[] targets)
    {
        using var trainer = new LocalTrainer(new LocalTrainerOptions { Root = folder });
        var client = new ClientSpec { Id = "one", Task = "one", Data = new() { Train = $"{tokens}.jsonl" } };
        var plan = new FederationPlan
        {
            Name = "loading", Seed = 1, Model = new() { Path = "." }, Clients = [client],
            Adapter = AdapterCatalog.Methods["lora"].Spec with { Rank = 8, TargetModules = targets },
            Training = new() { Steps = 1, BatchSize = 1, MaxTokens = tokens, Threads = Environment.ProcessorCount },
            Strategy = new() { Rounds = 1 },
        };
        var shared = await trainer.InitialSharedAsync(plan);
        var started = Stopwatch.GetTimestamp();
        var result = (await trainer.TrainAsync(
            new TrainingGroup { Plan = plan, Round = 1, Shared = shared, Members = [new GroupMember { Client = client }] })).Single();
        if (result.Failure is { } failure) throw new InvalidOperationException(failure);
        Console.Write(string.Create(CultureInfo.InvariantCulture,
            $"{Stopwatch.GetElapsedTime(started).TotalSeconds} {ChildProcess.PeakMegabytes()}"));
    }

    private static void Write(string folder, ModelConfig config, string stored)
    {
        ModelFolder.Write(folder, config, stored, Shards);
        foreach (var tokens in Lengths)
            File.WriteAllText(Path.Combine(folder, $"{tokens}.jsonl"),
                JsonSerializer.Serialize(new { prompt = "a", completion = new string('b', tokens - 3) }) + "\n");
    }
}
