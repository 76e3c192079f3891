using System.Diagnostics;
using System.Globalization;
using System.Text;
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

        var weights = ModelRegistry.ExpectedParameters(Config).Sum(static parameter => Count(parameter)) * sizeof(float) / 1e6;
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"weights in float32: {weights:F0} MB"));
        Console.WriteLine("stored  LoRA on     tokens  seconds  peak MB  of a tiny model  difference / weights  beyond weights MB");
        foreach (var stored in (string[])["F32", "BF16"])
        {
            var (folder, small) = (Directory.CreateTempSubdirectory("fedrlora-loading-").FullName, Directory.CreateTempSubdirectory("fedrlora-loading-").FullName);
            try
            {
                Write(folder, Config, stored);
                Write(small, Small, stored);
                foreach (var targets in Targets)
                    foreach (var tokens in Lengths)
                    {
                        var ((seconds, peak), (_, floor)) = (await ChildAsync(folder, tokens, targets), await ChildAsync(small, Lengths[0], targets));
                        Console.WriteLine(string.Create(CultureInfo.InvariantCulture,
                            $"{stored,6}  {(targets.Length == 0 ? "all linear" : "q and v"),-10}  {tokens,6}  {seconds,7:F1}  {peak,7:F0}  {floor,15:F0}  {(peak - floor) / weights,20:F3}  {peak - floor - weights,17:F0}"));
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
        string[] program = Path.GetFileNameWithoutExtension(Environment.ProcessPath) == "dotnet" ? [typeof(Loading).Assembly.Location] : [];
        var start = new ProcessStartInfo(Environment.ProcessPath!, [.. program, "loading", "measure", folder, tokens.ToString(CultureInfo.InvariantCulture), .. targets]) { RedirectStandardOutput = true };
        using var child = Process.Start(start)!;
        var answer = await child.StandardOutput.ReadToEndAsync();
        await child.WaitForExitAsync();
        if (child.ExitCode != 0) throw new InvalidOperationException($"the measuring process ended with {child.ExitCode}");
        var numbers = answer.Split(' ').Select(static text => double.Parse(text, CultureInfo.InvariantCulture)).ToArray();
        return (numbers[0], numbers[1]);
    }

    // Prints the seconds for loading and one step, and the process's peak.
    private static async Task MeasureAsync(string folder, int tokens, string[] targets)
    {
        using var trainer = new LocalTrainer(new LocalTrainerOptions { Root = folder });
        var client = new ClientSpec { Id = "one", Task = "one", Data = new() { Train = $"{tokens}.jsonl" } };
        var plan = new FederationPlan
        {
            Name = "loading", Seed = 1, Model = new() { Path = "." }, Clients = [client], Adapter = AdapterCatalog.Methods["lora"].Spec with { Rank = 8, TargetModules = targets },
            Training = new() { Steps = 1, BatchSize = 1, MaxTokens = tokens, Threads = Environment.ProcessorCount }, Strategy = new() { Rounds = 1 },
        };
        var shared = await trainer.InitialSharedAsync(plan);
        var started = Stopwatch.GetTimestamp();
        var result = (await trainer.TrainAsync(new TrainingGroup { Plan = plan, Round = 1, Shared = shared, Members = [new GroupMember { Client = client }] })).Single();
        if (result.Failure is { } failure) throw new InvalidOperationException(failure);
        Console.Write(string.Create(CultureInfo.InvariantCulture, $"{Stopwatch.GetElapsedTime(started).TotalSeconds} {PeakMegabytes()}"));
    }

    private static double PeakMegabytes()
    {
        var line = File.ReadLines("/proc/self/status").First(static line => line.StartsWith("VmHWM:", StringComparison.Ordinal));
        return long.Parse(line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[^2], CultureInfo.InvariantCulture) * 1024 / 1e6;
    }

    private static void Write(string folder, ModelConfig config, string stored)
    {
        File.WriteAllText(Path.Combine(folder, "config.json"), config.ToJson());
        var letters = new[] { "</s>" }.Concat(Enumerable.Range('a', 26).Select(static letter => $"{(char)letter}")).Append(" ").Select(static (letter, id) => (letter, id)).ToDictionary();
        File.WriteAllText(Path.Combine(folder, "tokenizer.json"), JsonSerializer.Serialize(new { model = new { type = "BPE", vocab = letters, merges = Array.Empty<string>(), unk_token = "</s>" } }));
        File.WriteAllText(Path.Combine(folder, "tokenizer_config.json"), """{"eos_token":"</s>"}""");
        foreach (var tokens in Lengths) File.WriteAllText(Path.Combine(folder, $"{tokens}.jsonl"), JsonSerializer.Serialize(new { prompt = "a", completion = new string('b', tokens - 3) }) + "\n");

        var parameters = ModelRegistry.ExpectedParameters(config);
        var perShard = (parameters.Count + Shards - 1) / Shards;
        var index = new Dictionary<string, string>();
        foreach (var (number, shard) in parameters.Chunk(perShard).Index())
        {
            var file = $"model-{number + 1:D5}-of-{Shards:D5}.safetensors";
            WriteShard(Path.Combine(folder, file), shard, stored);
            foreach (var parameter in shard) index.Add(parameter.Name, file);
        }

        File.WriteAllText(Path.Combine(folder, "model.safetensors.index.json"), JsonSerializer.Serialize(new { weight_map = index }));
    }

    private static void WriteShard(string path, IReadOnlyList<ParameterShape> parameters, string stored)
    {
        var (size, end, header) = (stored == "F32" ? 4 : 2, 0L, new Dictionary<string, object>());
        foreach (var parameter in parameters)
        {
            var begin = end;
            end += Count(parameter) * size;
            header.Add(parameter.Name, new { dtype = stored, shape = parameter.Shape, data_offsets = new[] { begin, end } });
        }

        var json = JsonSerializer.Serialize(header);
        json = json.PadRight((json.Length + 7) / 8 * 8);
        using var stream = new FileStream(path, FileMode.Create, FileAccess.Write, FileShare.None, 1 << 20);
        stream.Write(BitConverter.GetBytes((ulong)json.Length));
        stream.Write(Encoding.ASCII.GetBytes(json));
        var (random, buffer) = (new Random(1), new byte[sizeof(float)]);
        foreach (var parameter in parameters)
        {
            var center = parameter.Name.EndsWith("norm.weight", StringComparison.Ordinal) ? 1f : 0f;
            for (var i = Count(parameter); i > 0; i--)
            {
                BitConverter.TryWriteBytes(buffer, center + 0.1f * (random.NextSingle() - 0.5f));
                stream.Write(buffer.AsSpan(sizeof(float) - size)); // the upper half of a float32 is its bfloat16
            }
        }
    }

    private static long Count(ParameterShape parameter) => parameter.Shape.Aggregate(1L, static (product, size) => product * size);
}
