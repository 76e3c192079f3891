using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Adapters;
using FedRLora.Training.Adapters.Combination;
using FedRLora.Training.Adapters.Peft;
using FedRLora.Training.Conversion;
using FedRLora.Training.Models;
using TorchSharp;

namespace FedRLora.Training.Tests.Adapters.Peft;

/// <summary>An exported head knows the numbers that it was trained beside.</summary>
public sealed class AdapterBaseTests : IDisposable
{
    private readonly TinyFederation _tiny = new();
    private readonly TemporaryFolder _folder = new();

    [Theory, InlineData(WeightStorage.Nf4), InlineData(WeightStorage.Int8), InlineData(WeightStorage.Bfloat16)]
    public async Task A_head_of_a_rounded_base_is_refused_on_the_base_itself_and_the_reverse(WeightStorage storage)
    {
        await ExportAsync("rounded", storage);
        await ExportAsync("exact", WeightStorage.AsStored);

        var refused = await Assert.ThrowsAsync<BadInputException>(() => ScoreAsync("rounded", new()));
        Assert.Contains($"stored as {storage.Word()}, those here ", refused.Message, StringComparison.Ordinal);
        Assert.Contains($"--storage {storage.Word()}", refused.Message, StringComparison.Ordinal);
        await Assert.ThrowsAsync<BadInputException>(() => ScoreAsync("exact", new() { Storage = storage }));
        Assert.Empty((await ScoreAsync("rounded", new() { Storage = storage })).Notes);
        Assert.Empty((await ScoreAsync("exact", new() { Storage = WeightStorage.Float32 })).Notes);
        var said = Assert.Single((await ScoreAsync("rounded", new() { AllowOtherBase = true })).Notes);
        Assert.Contains("was trained on another base", said, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_head_of_another_program_goes_on_any_base()
    {
        await ExportAsync("head", WeightStorage.Nf4);
        var path = _folder.File("head/adapter_model.safetensors");
        using (var stream = File.OpenRead(path))
        {
            var tensors = SafetensorsCodec.Read(stream, path);
            stream.Close();
            using var again = File.Create(path);
            SafetensorsCodec.Write(tensors, new Dictionary<string, string> { ["format"] = "pt" }, again);
        }

        Assert.Empty((await ScoreAsync("head", new())).Notes);
    }

    [Fact]
    public async Task A_head_of_a_folder_goes_on_the_file_that_it_was_converted_to_and_back()
    {
        await ExportAsync("head", WeightStorage.AsStored);
        Convert();

        foreach (var path in (string[])["model.gguf", "again"])
        {
            using var model = ModelRegistry.Load(_folder.File(path), torch.CPU);
            Assert.Empty(AdapterBase.Check(PeftAdapter.Read(_folder.File("head")), _folder.File(path), new(), () => model));
            using var rounded = ModelRegistry.Load(_folder.File(path), torch.CPU, WeightStorage.Nf4);
            var options = new BaseOptions { Storage = WeightStorage.Nf4 };
            Assert.Throws<BadInputException>(
                () => AdapterBase.Check(PeftAdapter.Read(_folder.File("head")), _folder.File(path), options, () => rounded));
        }
    }

    [Theory, InlineData(WeightStorage.Nf4), InlineData(WeightStorage.Int8)]
    public async Task Merged_into_the_widened_base_the_model_computes_what_base_and_head_computed(WeightStorage storage)
    {
        await ExportAsync("head", storage);
        Assert.Throws<BadInputException>(() => MergedModel.Write(Model, _folder.File("head"), _folder.File("merged")));
        Assert.False(Directory.Exists(_folder.File("merged")));

        MergedModel.Write(Model, _folder.File("head"), _folder.File("merged"), new() { Storage = storage });

        var unmerged = (await ScoreAsync("head", new() { Storage = storage })).Loss;
        using var merged = await AdaptedModel.LoadAsync(_folder.File("merged"), null);
        var result = await merged.ScoreAsync(Rows, new() { Metric = Metric.Perplexity }, 20);
        Close.AssertRelative(unmerged, result.Loss, "loss", 1e-5);
        using var plain = await AdaptedModel.LoadAsync(Model, null);
        Assert.NotEqual(unmerged, (await plain.ScoreAsync(Rows, new() { Metric = Metric.Perplexity }, 20)).Loss, 1e-4);
    }

    [Fact]
    public async Task An_adapter_merges_into_a_file_as_into_the_folder_of_it()
    {
        await ExportAsync("head", WeightStorage.AsStored);
        Convert();

        MergedModel.Write(Model, _folder.File("head"), _folder.File("one"));
        MergedModel.Write(_folder.File("model.gguf"), _folder.File("head"), _folder.File("other"));

        using var one = ModelRegistry.Load(_folder.File("one"), torch.CPU);
        using var other = ModelRegistry.Load(_folder.File("other"), torch.CPU);
        Assert.Equal(one.ValuesDigest, other.ValuesDigest);
        Assert.Equal(["one", "other"], Directory.GetDirectories(_folder.Root).Select(static path => Path.GetFileName(path))
            .Where(static name => name is "one" || name.StartsWith("other", StringComparison.Ordinal)).Order());
    }

    [Fact]
    public async Task Heads_of_different_bases_do_not_combine_and_those_of_one_keep_it()
    {
        await ExportAsync("rounded", WeightStorage.Nf4);
        await ExportAsync("exact", WeightStorage.AsStored);
        (string, double)[] Pair(string one, string other) => [(_folder.File(one), 0.5), (_folder.File(other), 0.5)];

        var refused = Assert.Throws<BadInputException>(() => AdapterCombination.Combine(Pair("exact", "rounded"), new()));
        Assert.Contains("another base", refused.Message, StringComparison.Ordinal);
        Assert.Equal(PeftAdapter.Read(_folder.File("exact")).Base!.Metadata,
            AdapterCombination.Combine(Pair("exact", "exact"), new()).Adapter.Metadata);
    }

    [Fact]
    public async Task A_run_that_starts_from_a_head_of_another_base_says_so()
    {
        await ExportAsync("rounded", WeightStorage.Nf4);
        var notes = new List<string>();
        using var trainer = new LocalTrainer(new LocalTrainerOptions { Root = _tiny.Root, Note = notes.Add });

        await trainer.InitialSharedAsync(_tiny.Plan(new AdapterSpec { Method = "lora", From = _folder.File("rounded") }));

        Assert.Contains(notes, static note => note.Contains("was trained on another base", StringComparison.Ordinal));
    }

    public void Dispose()
    {
        _tiny.Dispose();
        _folder.Dispose();
    }

    // Without the tokenizer, which has no name in GGUF.
    private void Convert()
    {
        Directory.CreateDirectory(_folder.File("bare"));
        foreach (var name in (string[])["config.json", "model.safetensors"])
            File.Copy(Path.Combine(Model, name), _folder.File($"bare/{name}"));
        FolderToGguf.Write(_folder.File("bare"), _folder.File("model.gguf"), WeightType.F32);
        GgufToFolder.Write(_folder.File("model.gguf"), _folder.File("again"), WeightType.F32);
    }

    private string Model => Path.Combine(_tiny.Root, "model");

    private string Rows => Path.Combine(_tiny.Root, "one.test.jsonl");

    private async Task<(double Loss, IReadOnlyList<string> Notes)> ScoreAsync(string adapter, BaseOptions options)
    {
        using var adapted = await AdaptedModel.LoadAsync(Model, _folder.File(adapter), options);
        return ((await adapted.ScoreAsync(Rows, new() { Metric = Metric.Perplexity }, 20)).Loss, adapted.Notes);
    }

    private async Task ExportAsync(string name, WeightStorage storage)
    {
        var plan = _tiny.Plan(TinyFederation.TinyCatalogue("lora")) with { Model = new() { Path = "model", Storage = storage } };
        using var trainer = _tiny.Trainer();
        var group = await TinyFederation.GroupAsync(trainer, plan, "one");
        var trained = Assert.Single(await trainer.TrainAsync(group));
        var exported = new PeftExporter(_tiny.Root).Export(
            plan, 1, plan.Clients[0], SoloRun.Sum(group.Shared, trained.Update), trained.Head);
        Directory.CreateDirectory(_folder.File(name));
        File.WriteAllText(_folder.File($"{name}/adapter_config.json"), exported.ConfigJson);
        using var stream = File.Create(_folder.File($"{name}/adapter_model.safetensors"));
        SafetensorsCodec.Write(exported.Tensors, exported.Metadata, stream);
    }
}
