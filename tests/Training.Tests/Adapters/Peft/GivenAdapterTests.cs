using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Adapters.Peft;
using FedRLora.Training.Models;
using static TorchSharp.torch;

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

    [Fact]
    public async Task A_subspace_holds_what_related_adapters_write_into()
    {
        foreach (var seed in (ulong[])[1, 2]) await SaveAsync(Method("lora") with { Rank = 1 }, $"related{seed}", seed);

        var shared = await _trainer.InitialSharedAsync(_tiny.Plan(Cora(2, "related1", "related2")));

        const string name = "model.layers.0.self_attn.q_proj.B";
        using var scope = NewDisposeScope();
        var basis = TensorOf(shared[name]);
        Assert.Equal([24L, 2], basis.shape);
        Assert.True((basis.T.mm(basis) - eye(2)).abs().max().item<float>() < 1e-6, "the columns are orthonormal");
        Tensor[] written = [.. ((string[])["related1", "related2"]).Select(folder => TensorOf(AdapterTensorsOf(folder)[name]))];
        Assert.All(written, static column => Assert.True(column.norm().item<float>() > 1e-4, "the adapter was trained"));
        Assert.All(written, column => Assert.True(
            (column - basis.mm(basis.T.mm(column))).norm().item<float>() < 1e-5 * column.norm().item<float>(), "nothing is left over"));
    }

    [Theory]
    [InlineData("lora", 1, "nowhere", "nowhere: no such folder; give an adapter folder in PEFT's layout")]
    [InlineData("lora", 2, "related", "subspaceFrom: the changes of model.layers.0.self_attn.q_proj span 1 dimensions, fewer than rank 2; "
        + "give a lower rank")]
    [InlineData("dora", 1, "related", "subspaceFrom: related has magnitudes (DoRA), so its change is no low rank; leave it out")]
    public async Task Related_adapters_that_give_no_subspace_are_refused(string method, int rank, string folder, string expected)
    {
        await SaveAsync(Method(method) with { Rank = 1 }, "related");
        Assert.EndsWith(expected, await RefusedAsync(Cora(rank, folder)), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_related_adapter_must_change_every_layer_that_the_plan_adapts()
    {
        await SaveAsync(Method("lora") with { TargetModules = ["q_proj"] }, "related");
        Assert.Equal("subspaceFrom: related has nothing for model.layers.0.self_attn.v_proj, which the plan adapts",
            await RefusedAsync(Cora(1, "related") with { TargetModules = ["q_proj", "v_proj"] }));
    }

    private static AdapterSpec Cora(int rank, params string[] folders) =>
        Method("cora") with { Rank = rank, TargetModules = ["q_proj"], SubspaceFrom = [.. folders] };

    private async Task<string> RefusedAsync(AdapterSpec spec) =>
        (await Assert.ThrowsAsync<BadInputException>(() => _trainer.InitialSharedAsync(_tiny.Plan(spec)))).Message;

    private AdapterState AdapterTensorsOf(string folder) => PeftAdapter.Read(Path.Combine(_tiny.Root, folder)).Tensors;

    // One head.
    private static Tensor TensorOf(NamedArray array) => tensor(array.Data).reshape([.. array.Shape])[0];

    private async Task SaveAsync(AdapterSpec spec, string folder, ulong seed = 1)
    {
        var plan = _tiny.Plan(spec) with { Seed = seed };
        var trained = await TrainAsync(plan);
        Save(plan, trained.Shared, trained.Result.Head, folder);
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
        await SaveAsync(Method("lora") with { TargetModules = ["q_proj"] }, "given");
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
