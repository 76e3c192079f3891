using System.Runtime.InteropServices;
using System.Text.Json.Nodes;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Adapters;
using FedRLora.Training.Adapters.Peft;
using FedRLora.Training.Models;
using FedRLora.Training.Tests.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training.Tests.Adapters;

public sealed class MergedModelTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();
    private readonly DisposeScope _scope = NewDisposeScope();
    private readonly Tensor _ids = TinyLlama.Ids(1, 5, 7, 9);

    public void Dispose()
    {
        _scope.Dispose();
        _folder.Dispose();
    }

    [Theory, InlineData("q_proj"), InlineData("lm_head"), InlineData("embed_tokens"), InlineData("embed_tokens,lm_head")]
    public void A_merged_model_computes_what_model_and_adapter_do_also_where_the_embedding_is_the_LM_head(string targets)
    {
        var config = TinyLlama.Config with { TieWordEmbeddings = true };
        Model(config);
        Adapter(config, targets.Split(','));

        Merge();

        using var before = Load("model");
        using var after = Load("merged");
        var peft = PeftAdapter.Read(_folder.File("adapter"));
        using var pass = AdapterPass.Evaluating(
            PlacedAdapter.Create(new(peft.On(before.AdaptableLayers), peft.Tensors, null), CPU), before);
        var expected = TensorData.Values(before.LogitsOf(before.Hidden(_ids, null, pass), pass));
        Close.Assert(expected, TensorData.Values(after.LogitsOf(after.Hidden(_ids, null, null), null)), targets, 1e-5, 1e-5);
        Assert.NotEqual(expected, TensorData.Values(before.LogitsOf(before.Hidden(_ids, null, null), null)));
        Assert.Equal(targets == "q_proj", after.Config.TieWordEmbeddings);
    }

    [Fact]
    public void An_adapter_with_a_value_that_is_not_finite_is_refused_and_other_folders_stay()
    {
        Model(TinyLlama.Config);
        Adapter(TinyLlama.Config, ["q_proj"]);
        Directory.CreateDirectory(_folder.File("merged.partial"));
        var tensors = SafetensorsCodec.Read(File.ReadAllBytes(_folder.File("adapter/adapter_model.safetensors")), "adapter");
        tensors.Values.First().Data[1] = float.NaN;
        Write("adapter/adapter_model.safetensors", tensors);

        Assert.Contains(
            $"tensor {tensors.Keys.First()} has a value that is not finite", Assert.Throws<BadInputException>(Merge).Message,
            StringComparison.Ordinal);

        Assert.Equal(
            ["adapter", "merged.partial", "model"],
            Directory.GetDirectories(_folder.Root).Select(static path => Path.GetFileName(path)).Order(StringComparer.Ordinal));
    }

    [Fact]
    public void Names_without_their_first_component_stay_so()
    {
        Model(TinyLlama.Config);
        Adapter(TinyLlama.Config, ["q_proj"]);
        Merge();
        Directory.Move(_folder.File("merged"), _folder.File("full"));
        Write(
            "model/model.safetensors",
            TinyLlama.Arrays(TinyLlama.Config)
                .Select(static entry => KeyValuePair.Create(entry.Key.Replace("model.", "", StringComparison.Ordinal), entry.Value)));

        Merge();

        using var full = Load("full");
        using var bare = Load("merged");
        Assert.Equal(TensorData.Values(full.Hidden(_ids, null, null)), TensorData.Values(bare.Hidden(_ids, null, null)));
        using var stored = SafetensorsFile.Open(_folder.File("merged/model.safetensors"));
        Assert.Contains("layers.0.self_attn.q_proj.weight", stored.Header.Tensors.Keys);
    }

    [Fact]
    public void Shards_stay_shards_and_other_files_are_copied()
    {
        Model(TinyLlama.Config, shards: true);
        File.WriteAllText(_folder.File("model/tokenizer.json"), "{}");
        File.WriteAllText(_folder.File("model/pytorch_model.bin"), "old weights");
        Adapter(TinyLlama.Config, ["q_proj"]);

        Merge();

        Assert.Equal(
            ["config.json", "model-1.safetensors", "model-2.safetensors", "model.safetensors.index.json", "tokenizer.json"],
            Directory.GetFiles(_folder.File("merged")).Select(static path => Path.GetFileName(path)).Order(StringComparer.Ordinal));
        using var merged = Load("merged");
        using var first = SafetensorsFile.Open(_folder.File("model/model-1.safetensors"));
        using var same = SafetensorsFile.Open(_folder.File("merged/model-1.safetensors"));
        Assert.Equal(first.Header.Tensors.Keys.Order(StringComparer.Ordinal), same.Header.Tensors.Keys.Order(StringComparer.Ordinal));
        Assert.Equal(
            first.Header.Tensors.Keys.Where(static name => name.Contains("q_proj", StringComparison.Ordinal)),
            first.Header.Tensors.Keys.Where(name => !first.Bytes(name).SequenceEqual(same.Bytes(name))));
    }

    [Fact]
    public void Sub_folders_that_inference_reads_are_copied_and_those_of_other_weights_are_not()
    {
        Model(TinyLlama.Config);
        Adapter(TinyLlama.Config, ["q_proj"]);
        string[] files =
        [
            "additional_chat_templates/tool_use.jinja", "a/b/c.json", "other/config.json", "other/adapter_model.safetensors", ".git/x.json",
        ];
        foreach (var file in files)
        {
            Directory.CreateDirectory(Path.GetDirectoryName(_folder.File("model/" + file))!);
            File.WriteAllText(_folder.File("model/" + file), file);
        }

        Merge();

        Assert.Equal(
            ["a/b/c.json", "additional_chat_templates/tool_use.jinja", "config.json", "model.safetensors"],
            Directory.GetFiles(_folder.File("merged"), "*", SearchOption.AllDirectories)
                .Select(path => Path.GetRelativePath(_folder.File("merged"), path)).Order(StringComparer.Ordinal));
        Assert.Equal("a/b/c.json", File.ReadAllText(_folder.File("merged/a/b/c.json")));
    }

    [Fact]
    public void A_base_that_is_not_finite_or_has_another_head_than_it_says_is_not_merged()
    {
        void Refused(string expected)
        {
            Assert.Contains(expected, Assert.Throws<BadInputException>(Merge).Message, StringComparison.Ordinal);
            Assert.Equal(
                ["adapter", "model"],
                Directory.GetDirectories(_folder.Root).Select(static path => Path.GetFileName(path)).Order(StringComparer.Ordinal));
        }

        var tied = TinyLlama.Config with { TieWordEmbeddings = true };
        Model(tied);
        Adapter(tied, ["q_proj"]);
        var arrays = TinyLlama.Arrays(tied).ToDictionary(static entry => entry.Key, static entry => entry.Value);
        arrays["model.layers.1.mlp.down_proj.weight"].Data[0] = float.NaN;
        Write("model/model.safetensors", arrays);
        Refused("tensor model.layers.1.mlp.down_proj.weight has NaN at [0, 0], which is not finite");

        arrays["model.layers.1.mlp.down_proj.weight"].Data[0] = 0;
        var embedding = arrays["model.embed_tokens.weight"];
        arrays["lm_head.weight"] = embedding with { Data = new float[embedding.Data.Length] };
        Write("model/model.safetensors", arrays);
        Refused("tensor lm_head.weight differs from model.embed_tokens.weight");
    }

    [Fact]
    public void What_float16_cannot_hold_any_more_is_not_written()
    {
        Model(TinyLlama.Config);
        Adapter(TinyLlama.Config, ["q_proj"]);
        var tensors = SafetensorsCodec.Read(File.ReadAllBytes(_folder.File("adapter/adapter_model.safetensors")), "adapter");
        foreach (var (_, tensor) in tensors) Array.Fill(tensor.Data, 1000);
        Write("adapter/adapter_model.safetensors", tensors);
        using (var stream = File.Create(_folder.File("model/model.safetensors")))
        {
            var halves = TinyLlama.Arrays(TinyLlama.Config).Select(static entry => KeyValuePair.Create(entry.Key, SafetensorsArray.Streamed(
                SafetensorsDtype.F16, entry.Value.Shape, to => to.Write(
                    MemoryMarshal.AsBytes<Half>(entry.Value.Data.Select(static value => (Half)value).ToArray())))));
            SafetensorsWriter.Write([.. halves], new Dictionary<string, string>(), stream);
        }

        var message = Assert.Throws<BadInputException>(Merge).Message;

        Assert.Contains(
            "model.safetensors with the adapter: tensor model.layers.0.self_attn.q_proj.weight has 3", message, StringComparison.Ordinal);
        Assert.EndsWith("at [0, 0], which float16 cannot hold; use bfloat16 or float32", message, StringComparison.Ordinal);
        Assert.False(Directory.Exists(_folder.File("merged")));
    }

    [Fact]
    public void A_folder_that_exists_is_not_written_into_and_a_fault_leaves_nothing()
    {
        Model(TinyLlama.Config);
        Adapter(TinyLlama.Config, ["q_proj"]);
        Directory.CreateDirectory(_folder.File("merged"));
        Assert.Contains("exists already", Assert.Throws<BadInputException>(Merge).Message, StringComparison.Ordinal);

        Directory.Delete(_folder.File("merged"));
        Adapter(TinyLlama.Config with { HiddenSize = 20, HeadDim = 6 }, ["q_proj"]);
        Assert.Contains(
            "tensor base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight has shape",
            Assert.Throws<BadInputException>(Merge).Message, StringComparison.Ordinal);
        Assert.Equal(
            ["adapter", "model"],
            Directory.GetDirectories(_folder.Root).Select(static path => Path.GetFileName(path)).Order(StringComparer.Ordinal));
    }

    private void Merge() => MergedModel.Write(_folder.File("model"), _folder.File("adapter"), _folder.File("merged"));

    private CausalLanguageModel Load(string name) => ModelRegistry.Load(_folder.File(name), CPU, ScalarType.Float32);

    private void Model(ModelConfig config, bool shards = false)
    {
        Directory.CreateDirectory(_folder.File("model"));
        File.WriteAllText(_folder.File("model/config.json"), config.ToJson());
        var arrays = TinyLlama.Arrays(config).ToList();
        if (!shards)
        {
            Write("model/model.safetensors", arrays);
            return;
        }

        Write("model/model-1.safetensors", arrays.Where(static (_, i) => i % 2 == 0));
        Write("model/model-2.safetensors", arrays.Where(static (_, i) => i % 2 == 1));
        var map = new JsonObject(arrays.Select(
            static (entry, i) => KeyValuePair.Create(entry.Key, (JsonNode?)JsonValue.Create($"model-{1 + i % 2}.safetensors"))));
        File.WriteAllText(_folder.File("model/model.safetensors.index.json"), new JsonObject { ["weight_map"] = map }.ToJsonString());
    }

    private void Adapter(ModelConfig config, string[] targets)
    {
        using var generator = new Generator(3, CPU);
        var shapes = ModelRegistry.ExpectedParameters(config)
            .ToDictionary(static parameter => parameter.Name, static parameter => zeros(parameter.Shape), StringComparer.Ordinal);
        using var model = ModelRegistry.Create(config, shapes);
        var layout = AdapterLayout.Unbounded(new() { Rank = 2, Alpha = 3, TargetModules = targets }, model.AdaptableLayers);
        float[] Draw(IReadOnlyList<long> shape) => TensorData.Values(empty([.. shape]).normal_(0, 0.5, generator));
        Directory.CreateDirectory(_folder.File("adapter"));
        File.WriteAllText(_folder.File("adapter/adapter_config.json"), PeftConfig.Write(layout, "model", given: null));
        Write("adapter/adapter_model.safetensors", layout.Tensors.Select(tensor =>
        {
            var shape = tensor.Role.Name == Roles.B ? [.. tensor.Shape.Skip(1)] : tensor.Shape;
            return KeyValuePair.Create(PeftNames.Of(tensor.Target, tensor.Role.Name), new NamedArray(shape, Draw(shape)));
        }));
    }

    private void Write(string name, IEnumerable<KeyValuePair<string, NamedArray>> arrays)
    {
        using var stream = File.Create(_folder.File(name));
        SafetensorsCodec.Write(new AdapterState(arrays), new Dictionary<string, string>(), stream);
    }
}
