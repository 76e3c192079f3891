using System.Text;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Adapters;
using TorchSharp;

namespace FedRLora.Training.Tests.Golden;

/// <summary>Reported situations with the files that came with them: each is computed rightly, or refused by what is wrong in it.</summary>
public sealed class SituationTests : IDisposable
{
    private static readonly Dictionary<string, Func<SituationTests, string, Task>> Checks = new(StringComparer.Ordinal)
    {
        ["01-pissa-adapter"] = static (test, folder) => test.RefusesAsync(["init_lora_weights", "path_initial_model_for_weight_conversion"], adapter: folder),
        ["02-rows-not-utf8"] = static (test, folder) => test.RefusesAsync(["cp1252.jsonl:1: byte 0xF6 is not UTF-8"], rows: Path.Combine(folder, "cp1252.jsonl")),
        ["04-rope-type-twice"] = static async (test, folder) => Assert.True(double.IsFinite((await ScoreAsync(
            test.With(("config.json", Path.Combine(folder, "config-rope-both-linear.json"))), null, test.Rows())).Loss)),
        ["05-null-columns"] = static async (_, folder) => Assert.Equal(2, (await ScoreAsync(Stories, null, Path.Combine(folder, "columns.jsonl"))).Rows),
        ["06-tied-head-that-differs"] = static (test, _) => test.RefusesAsync(["lm_head.weight", "model.embed_tokens.weight"], test.Changed(static tensors =>
        {
            var embedding = tensors["model.embed_tokens.weight"];
            tensors["lm_head.weight"] = embedding with { Data = new float[embedding.Data.Length] };
        })),
        ["07-end-token-unknown"] = static (test, folder) => test.RefusesAsync(["eos_token is <|im_end|>"], test.With(
            ("tokenizer_config.json", Path.Combine(folder, "tokenizer_config.json")), ("config.json", Path.Combine(folder, "config-without-eos.json")))),
        ["08-added-tokens-elsewhere"] = static (test, folder) => test.RefusesAsync(
            ["<|im_end|>"], test.With(("tokenizer_config.json", Path.Combine(folder, "tokenizer_config.json")))),
        ["10-config-keys-without-influence"] = static async (test, folder) =>
        {
            var expected = await ScoreAsync(Stories, null, test.Rows());
            foreach (var config in Directory.GetFiles(folder, "*.json"))
                Assert.Equal(expected.Loss, (await ScoreAsync(test.With(("config.json", config)), null, test.Rows())).Loss);
        },
        ["13-adapter-named-default"] = static async (test, folder) =>
        {
            var expected = (await ScoreAsync(Stories, test.Renamed(folder, static name => name.Replace(".default", "", StringComparison.Ordinal)), test.Rows())).Loss;
            var bare = test.Renamed(folder, static name => name.Replace("base_model.model.", "", StringComparison.Ordinal));
            Assert.NotEqual(expected, (await ScoreAsync(Stories, null, test.Rows())).Loss);
            Assert.Equal(expected, (await ScoreAsync(Stories, folder, test.Rows())).Loss);
            Assert.Equal(expected, (await ScoreAsync(Stories, bare, test.Rows())).Loss);
        },
        ["15-prompt-ends-with-the-end-token"] = static async (test, folder) =>
        {
            var model = test.With(Directory.GetFiles(folder).Select(static file => (Path.GetFileName(file), file)));
            Assert.Equal(await ContinuedAsync(Stories), await ContinuedAsync(model));
        },
        ["20-base-not-finite"] = static async (test, folder) =>
        {
            foreach (var value in (float[])[float.NaN, float.PositiveInfinity])
            {
                var model = test.Changed(tensors => tensors["model.layers.2.mlp.down_proj.weight"].Data[0] = value);
                string[] named = ["model.layers.2.mlp.down_proj.weight", "[0, 0]"];
                await test.RefusesAsync(named, model, rows: Path.Combine(folder, "rows.jsonl"));
                var refused = Assert.Throws<BadInputException>(() => MergedModel.Write(model, Path.Combine(folder, "zero"), Path.Combine(model, "merged")));
                Assert.All(named, name => Assert.Contains(name, refused.Message, StringComparison.Ordinal));
            }
        },
        ["27-beyond-float16"] = static (test, _) =>
        {
            var model = test.Changed(static tensors => tensors["model.layers.2.mlp.down_proj.weight"].Data[0] = 70000);
            var refused = Assert.Throws<BadInputException>(() => FrozenBase.Load(model, torch.CPU, WeightStorage.Float16));
            Assert.Contains("model.layers.2.mlp.down_proj.weight has 70000 at [0, 0], which float16 cannot hold", refused.Message, StringComparison.Ordinal);
            return Task.CompletedTask;
        },
        ["29-layers-that-do-not-exist"] = static async (_, folder) =>
        {
            using var trainer = new LocalTrainer(new() { Root = folder });
            foreach (var (plan, named) in ((string, string)[])[("plan-layers.yaml", "layersToTransform: no target is in layer 99"), ("plan-exclude.yaml", "dwon_proj")])
            {
                var read = PlanReader.Require(File.ReadAllText(Path.Combine(folder, plan)), plan);
                var refused = await Assert.ThrowsAsync<BadInputException>(() => trainer.InitialSharedAsync(read));
                Assert.Contains(named, refused.Message, StringComparison.Ordinal);
            }
        },
    };

    private static Task<string> ContinuedAsync(string model) => Of(model, null, async loaded =>
    {
        var text = new StringBuilder();
        await loaded.ContinueAsync("Once upon a time", new() { MaxNewTokens = 12 }, piece => text.Append(piece));
        return text.ToString();
    });

    private readonly TemporaryFolder _folder = new();

    public static TheoryData<string> Places => Fixtures.Of("situation/*");

    [SharedTheory, MemberData(nameof(Places))]
    public Task It_has_its_right_outcome(string place)
    {
        var (folder, name) = Fixtures.Split(place);
        Assert.True(Checks.TryGetValue(name, out var check), $"{name}: neither a check here nor a line in not-yet.txt");
        return check(this, SharedFolder.Of(folder, name));
    }

    public void Dispose() => _folder.Dispose();

    private static string Stories => SharedFolder.Of("models", "stories260k");

    private static Task<EvaluationResult> ScoreAsync(string model, string? adapter, string rows, Metric metric = Metric.Perplexity) =>
        Of(model, adapter, loaded => loaded.ScoreAsync(rows, new EvaluationSpec { Metric = metric }, maxTokens: 512));

    private static async Task<T> Of<T>(string model, string? adapter, Func<AdaptedModel, Task<T>> work)
    {
        using var loaded = await AdaptedModel.LoadAsync(model, adapter);
        return await work(loaded);
    }

    private async Task RefusesAsync(string[] named, string? model = null, string? adapter = null, string? rows = null)
    {
        var refused = await Assert.ThrowsAsync<BadInputException>(() => ScoreAsync(model ?? Stories, adapter, rows ?? Rows()));
        Assert.All(named, name => Assert.Contains(name, refused.Message, StringComparison.Ordinal));
    }

    private string Rows()
    {
        File.WriteAllText(_folder.File("rows.jsonl"), """{"prompt": "Once upon a time", "completion": "there was a girl"}""");
        return _folder.File("rows.jsonl");
    }

    private string Renamed(string adapter, Func<string, string> rename)
    {
        var folder = Directory.CreateDirectory(_folder.File(Path.GetRandomFileName())).FullName;
        File.Copy(Path.Combine(adapter, "adapter_config.json"), Path.Combine(folder, "adapter_config.json"));
        var tensors = SafetensorsCodec.Read(File.ReadAllBytes(Path.Combine(adapter, "adapter_model.safetensors")), adapter);
        using var stream = File.Create(Path.Combine(folder, "adapter_model.safetensors"));
        SafetensorsCodec.Write(
            new AdapterState(tensors.Select(entry => KeyValuePair.Create(rename(entry.Key), entry.Value))),
            new Dictionary<string, string> { ["format"] = "pt" }, stream);
        return folder;
    }

    // The model with other weights.
    private string Changed(Action<Dictionary<string, NamedArray>> change)
    {
        var tensors = SafetensorsCodec.Read(File.ReadAllBytes(Path.Combine(Stories, "model.safetensors")), Stories).ToDictionary(static entry => entry.Key, static entry => entry.Value);
        change(tensors);
        var model = With();
        File.Delete(Path.Combine(model, "model.safetensors"));
        using var stream = File.Create(Path.Combine(model, "model.safetensors"));
        SafetensorsCodec.Write(new AdapterState(tensors), new Dictionary<string, string> { ["format"] = "pt" }, stream);
        return model;
    }

    // The model with some files in the place of its own.
    private string With(params IEnumerable<(string Name, string Path)> files)
    {
        var model = Directory.CreateDirectory(_folder.File(Path.GetRandomFileName())).FullName;
        foreach (var file in Directory.EnumerateFiles(Stories)) File.CreateSymbolicLink(Path.Combine(model, Path.GetFileName(file)), file);
        foreach (var (name, path) in files)
        {
            File.Delete(Path.Combine(model, name));
            File.Copy(path, Path.Combine(model, name));
        }

        return model;
    }
}
