using System.Text.Json;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Tests.Models;

namespace FedRLora.Training.Tests;

/// <summary>
/// A folder with a tiny Llama, a tokenizer of single letters and two clients' rows: a federation that trains in milliseconds.
/// </summary>
internal sealed class TinyFederation : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public TinyFederation()
    {
        Directory.CreateDirectory(_folder.File("model"));
        File.WriteAllText(_folder.File("model/config.json"), TinyLlama.Config.ToJson());
        using (var stream = File.Create(_folder.File("model/model.safetensors")))
            SafetensorsCodec.Write(TinyLlama.Arrays(TinyLlama.Config), new Dictionary<string, string> { ["format"] = "pt" }, stream);
        var letters = new[] { "<unk>", "<s>", "</s>" }.Concat(Enumerable.Range('a', 26).Select(static letter => $"{(char)letter}"))
            .Concat([" ", ":", "?"]);
        var vocabulary = JsonSerializer.Serialize(
            letters.Select(static (letter, id) => (letter, id)).ToDictionary(static pair => pair.letter, static pair => pair.id));
        const string AddBegin = """{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>","type_id":0}},"""
            + """{"Sequence":{"id":"A","type_id":0}}],"pair":[],"special_tokens":{"<s>":{"id":"<s>","ids":[1],"tokens":["<s>"]}}}""";
        File.WriteAllText(_folder.File("model/tokenizer.json"),
            $$$"""{"post_processor":{{{AddBegin}}},"model":{"type":"BPE","vocab":{{{vocabulary}}},"merges":[],"unk_token":"<unk>"}}""");
        File.WriteAllText(_folder.File("model/tokenizer_config.json"), """{"bos_token":"<s>","eos_token":"</s>"}""");
        foreach (var client in new[] { "one", "two" })
        {
            Write($"{client}.train.jsonl", Enumerable.Range(0, 12).Select(row => Row(client, row)));
            Write($"{client}.test.jsonl", Enumerable.Range(12, 5).Select(row => Row(client, row)));
        }
    }

    public string Root => _folder.Root;

    public FederationPlan Plan(AdapterSpec? adapter = null) => new()
    {
        Name = "tiny", Seed = 7, Model = new() { Path = "model" }, Adapter = adapter ?? TinyCatalogue("r-lora-federated"),
        Clients = [Client("one"), Client("two")],
        Training = new() { Steps = 4, BatchSize = 3, MaxTokens = 20, LearningRate = 1e-2, Threads = 1 }, Strategy = new() { Rounds = 3 },
    };

    /// <summary>A method at a rank that the tiny model can hold, also of the heads together where each has its own.</summary>
    public static AdapterSpec TinyCatalogue(string method) =>
        AdapterCatalog.Methods[method].Spec is { Downs: Downs.PerHead } spec ? spec with { Rank = 2, Alpha = 3 }
            : AdapterCatalog.Methods[method].Spec with { Rank = 4, Alpha = 6 };

    /// <summary>A method all of whose tensors that stay with a client belong to its task, but for what counts its rows.</summary>
    public static AdapterSpec OfTasks(AdapterSpec spec) => spec.Roles.Where(static role => !role.IsCounted).Aggregate(
        spec, static (changed, role) => changed.With(role.Name, static tensor => tensor.Scope == Scope.Client
            ? tensor with { Scope = Scope.Task, Seed = tensor.Seed == SeedPolicy.PerClient ? SeedPolicy.PerTask : tensor.Seed }
            : tensor));

    /// <summary>A method with another routing, by the plan's name for it; one head where that is what it routes.</summary>
    public static AdapterSpec Routed(AdapterSpec spec, string routing) => routing switch
    {
        "mean" => spec with { Routing = new Routing.Mean() },
        "sum" => spec with { Routing = new Routing.Sum() },
        "softmax" => spec with { Routing = new Routing.Softmax() },
        _ => spec with { Routing = new Routing.ByTask(), Heads = 1 },
    };

    public static ClientSpec Client(string id) =>
        new() { Id = id, Task = id, Data = new() { Train = $"{id}.train.jsonl", Test = $"{id}.test.jsonl" } };

    public LocalTrainer Trainer() => new(new LocalTrainerOptions { Root = Root });

    public static async Task<TrainingGroup> GroupAsync(LocalTrainer trainer, FederationPlan plan, params string[] clients) => new()
    {
        Plan = plan, Round = 1, Shared = await trainer.InitialSharedAsync(plan),
        Members = await Task.WhenAll(clients.Select(Client).Select(async client =>
            new GroupMember { Client = client, OfTask = await trainer.InitialOfTaskAsync(plan, client.Task) })),
    };

    public void Write(string file, IEnumerable<string> lines) => File.WriteAllLines(_folder.File(file), lines);

    public void Dispose() => _folder.Dispose();

    private static string Row(string client, int row)
    {
        var label = row % 3 == 0 ? "up" : "down";
        return JsonSerializer.Serialize(new { prompt = $"{client} {(char)('a' + row)}:", completion = label, label });
    }
}
