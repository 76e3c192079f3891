using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Adapters.Peft;
using FedRLora.Training.Models;

namespace FedRLora.Training.Tests.Adapters.Peft;

/// <summary>Plans that start from an adapter folder.</summary>
public sealed class GivenAdapterTests : IDisposable
{
    private readonly TinyFederation _tiny = new();
    private readonly LocalTrainer _trainer;

    public GivenAdapterTests() => _trainer = _tiny.Trainer();

    public void Dispose()
    {
        _trainer.Dispose();
        _tiny.Dispose();
    }

    [Theory, InlineData("lora"), InlineData("fedsa-lora"), InlineData("ffa-lora"), InlineData("dora")]
    public async Task Training_goes_on_from_the_given_tensors(string method)
    {
        var first = _tiny.Plan(
            Method(method) with
            {
                Rank = 3, Alpha = 5, Scaling = Scaling.AlphaOverSqrtRank, TargetModules = ["q_proj", "up_proj"],
                RankPattern = [new("up_proj", 2)],
            });
        var trained = await TrainAsync(first);
        Save(first, trained.Shared, trained.Result.Head, "given");

        var second = _tiny.Plan(AdapterCatalog.Methods[method].Spec with { From = "given", Dropout = Dropout.None, Start = Start.Exact });
        var shared = await _trainer.InitialSharedAsync(second);
        var exported = new PeftExporter(_tiny.Root).Export(second, 1, second.Clients[0], shared, head: null);

        var given = PeftAdapter.Read(Path.Combine(_tiny.Root, "given"));
        Assert.All(exported.Tensors, entry => Assert.Equal(Array(given, entry.Key), entry.Value.Data));
        Assert.Contains("\"use_rslora\": true", exported.ConfigJson, StringComparison.Ordinal);
        var again = (await TrainAsync(second)).Result;
        Assert.True(again.Numbers.MeanLoss < trained.Result.Numbers.MeanLoss, "the loss goes on from where it was");
    }

    [Fact]
    public async Task Every_task_begins_with_the_given_tensors()
    {
        var first = _tiny.Plan(Method("lora"));
        var trained = await TrainAsync(first);
        Save(first, trained.Shared, trained.Result.Head, "given");
        var plan = _tiny.Plan(TinyFederation.OfTasks(AdapterCatalog.Methods["fedsa-lora"].Spec) with { From = "given" });

        foreach (var task in (string[])["one", "two"])
        {
            var state = await _trainer.InitialOfTaskAsync(plan, task);
            Assert.Equal(trained.Shared.Keys.Where(static name => name.EndsWith(".B", StringComparison.Ordinal)), state.Keys);
            foreach (var (name, array) in state) Assert.Equal(trained.Shared[name].Data, array.Data);
        }
    }

    [Fact]
    public async Task An_adapter_of_another_model_is_refused_by_name()
    {
        await SaveWithAsync("q_proj", "v_proj");

        var plan = _tiny.Plan(new() { From = "given" });
        var message = (await Assert.ThrowsAsync<BadInputException>(() => _trainer.InitialSharedAsync(plan))).Message;

        Assert.EndsWith(
            "given/adapter_model.safetensors: tensor base_model.model.model.layers.0.self_attn.v_proj.lora_A.weight is missing, "
                + "adapter_config.json asks for it",
            message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task What_is_to_be_known_of_the_adapter_is_said_once()
    {
        var path = await SaveWithAsync("\"init_lora_weights\": true", "\"init_lora_weights\": \"lora_ga\"");
        var notes = new List<string>();
        using var trainer = new LocalTrainer(new() { Root = _tiny.Root, Note = notes.Add });
        var second = _tiny.Plan(AdapterCatalog.Methods["lora"].Spec with { From = "given", Dropout = Dropout.None });

        _ = await trainer.FingerprintAsync(second);
        _ = await trainer.TrainAsync(await TinyFederation.GroupAsync(trainer, second, "one", "two"));

        Assert.StartsWith($"{path}: init_lora_weights is \"lora_ga\": ", Assert.Single(notes), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_missing_folder_is_one_line()
    {
        var plan = _tiny.Plan(new() { From = "nowhere" });
        var message = (await Assert.ThrowsAsync<BadInputException>(() => _trainer.InitialSharedAsync(plan))).Message;
        Assert.Contains("nowhere: no such folder; give an adapter folder", message, StringComparison.Ordinal);
    }

    private static AdapterSpec Method(string name) => TinyFederation.TinyCatalogue(name) with { Dropout = Dropout.None };

    private static float[] Array(PeftAdapter adapter, string name)
    {
        var parsed = PeftNames.Parse(name)!.Value;
        return adapter.Tensors[FedRLora.Training.Adapters.AdapterTensor.NameOf(parsed.Module, parsed.Role)].Data;
    }

    private async Task<(AdapterState Shared, TrainingResult Result)> TrainAsync(FederationPlan plan)
    {
        var group = await TinyFederation.GroupAsync(_trainer, plan, "one");
        var result = Assert.Single(await _trainer.TrainAsync(group));
        Assert.Null(result.Failure);
        return (SoloRun.Sum(group.Shared, result.Update), result);
    }

    // An adapter on q_proj in the folder given, with a change of its configuration, whose path is returned.
    private async Task<string> SaveWithAsync(string old, string now)
    {
        var plan = _tiny.Plan(Method("lora") with { TargetModules = ["q_proj"] });
        var trained = await TrainAsync(plan);
        Save(plan, trained.Shared, trained.Result.Head, "given");
        var path = Path.Combine(_tiny.Root, "given", "adapter_config.json");
        File.WriteAllText(path, File.ReadAllText(path).Replace(old, now, StringComparison.Ordinal));
        return path;
    }

    private void Save(FederationPlan plan, AdapterState shared, AdapterState head, string folder)
    {
        var exported = new PeftExporter(_tiny.Root).Export(plan, 1, plan.Clients[0], shared, head);
        var target = Directory.CreateDirectory(Path.Combine(_tiny.Root, folder)).FullName;
        File.WriteAllText(Path.Combine(target, "adapter_config.json"), exported.ConfigJson);
        using var stream = File.Create(Path.Combine(target, "adapter_model.safetensors"));
        SafetensorsCodec.Write(exported.Tensors, new Dictionary<string, string>(), stream);
    }
}
