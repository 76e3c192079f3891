using FedRLora.Abstractions;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Models;
using FedRLora.Training.Models.Weights;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training.Tests.Models;

public sealed class ModelFolderTests : IDisposable
{
    private const string Norm = "model.norm.weight";

    private readonly TemporaryFolder _folder = new();

    public ModelFolderTests() => File.WriteAllText(_folder.File("config.json"), TinyLlama.Config.ToJson());

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void A_configuration_that_is_written_reads_back_equal()
    {
        var read = ModelConfig.Load(_folder.Root);
        Assert.Equal(TinyLlama.Config.EndIds, read.EndIds);
        Assert.Equal(TinyLlama.Config, read with { EndIds = TinyLlama.Config.EndIds });
    }

    [Fact]
    public void One_file_and_shards_load_the_same_frozen_model()
    {
        var arrays = TinyLlama.Arrays(TinyLlama.Config);
        Write("model.safetensors", arrays);
        var whole = LoadedValues();
        File.Delete(_folder.File("model.safetensors"));
        WriteShards(arrays, name =>
            name.Contains("layers.0", StringComparison.Ordinal) ? "model-00001-of-00002.safetensors" : "model-00002-of-00002.safetensors");

        var sharded = LoadedValues();

        Assert.All(arrays, entry => Assert.Equal(entry.Value.Data, whole[entry.Key]));
        Assert.All(arrays, entry => Assert.Equal(entry.Value.Data, sharded[entry.Key]));
    }

    [Fact]
    public void Float64_weights_load_as_float32()
    {
        var state = TinyLlama.Arrays(TinyLlama.Config);
        using var stream = new MemoryStream();
        SafetensorsWriter.Write(state.Select(static entry => KeyValuePair.Create(entry.Key,
            SafetensorsArray.Of(entry.Value.Shape, [.. entry.Value.Data.Select(static value => (double)value)]))), Metadata, stream);
        File.WriteAllBytes(_folder.File("model.safetensors"), stream.ToArray());

        Assert.Equal(state[Norm].Data, LoadedValues()[Norm]);
    }

    [Fact]
    public void Half_precision_weights_are_converted_to_the_type_that_is_asked_for()
    {
        const string Header =
            """{"bf":{"dtype":"BF16","shape":[2,1],"data_offsets":[0,4]},"h":{"dtype":"F16","shape":[1],"data_offsets":[4,6]}}""";
        File.WriteAllBytes(_folder.File("model.safetensors"), Tensors.SafetensorsTests.Raw(Header, [0x80, 0x3f, 0x20, 0xc0, 0x00, 0x3e]));
        using var weights = ModelWeights.Open(_folder.Root);
        using var bf = weights.Read("bf", [2, 1], CPU, ScalarType.Float32);
        using var half = weights.Read("h", [1], CPU, ScalarType.Float64);

        Assert.Equal([1f, -2.5f], bf.data<float>().ToArray());
        Assert.Equal([1.5], half.data<double>().ToArray());
        Assert.Equal([2, 1], bf.shape);
    }

    [Fact]
    public void A_float32_model_lies_in_its_file_and_leaves_the_file_when_it_is_disposed()
    {
        if (!OperatingSystem.IsLinux()) return;
        Write("model.safetensors", TinyLlama.Arrays(TinyLlama.Config));
        var before = File.ReadAllBytes(_folder.File("model.safetensors"));
        int Maps() =>
            File.ReadLines("/proc/self/maps").Count(line => line.EndsWith(_folder.File("model.safetensors"), StringComparison.Ordinal));

        using (var model = ModelRegistry.Load(_folder.Root, CPU, ScalarType.Float32))
        {
            Assert.Equal(1, Maps());
            model.Parameters[Norm].fill_(Living.Of(7)); // what nothing does reaches the process's own pages alone
        }

        Assert.Equal(0, Maps());
        Assert.Equal(before, File.ReadAllBytes(_folder.File("model.safetensors")));
        using (ModelRegistry.Load(_folder.Root, CPU, ScalarType.Float64)) Assert.Equal(0, Maps());
    }

    [Fact]
    public void A_file_that_is_shortened_after_its_header_was_checked_is_refused()
    {
        Write("model.safetensors", TinyLlama.Arrays(TinyLlama.Config));
        using var weights = ModelWeights.Open(_folder.Root);
        File.Move(_folder.File("model.safetensors"), _folder.File("elsewhere"));
        File.WriteAllBytes(_folder.File("model.safetensors"), [1, 2, 3]);
        Assert.Contains("model.safetensors: cannot be mapped",
            Assert.Throws<BadInputException>(() => weights.Read(Norm, [16], CPU, ScalarType.Float32)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Tensors_of_a_file_whose_header_is_not_padded_are_copied()
    {
        const string Header =
            """{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[2,1],"data_offsets":[4,12]} }""";
        byte[] data = [0, 0, 0x80, 0x3f, 0, 0, 0x20, 0xc0, 0, 0, 0, 0x3e];
        foreach (var padding in (string[])["", " ", "  ", "   "])
        {
            File.WriteAllBytes(_folder.File("model.safetensors"), Tensors.SafetensorsTests.Raw(Header + padding, data));
            using var weights = ModelWeights.Open(_folder.Root);
            using var read = weights.Read("b", [2, 1], CPU, ScalarType.Float32);
            using var wide = weights.Read("b", [2, 1], CPU, ScalarType.Float64);
            Assert.Equal([-2.5f, 0.125f], read.data<float>().ToArray());
            Assert.Equal([-2.5, 0.125], wide.data<double>().ToArray());
        }
    }

    [Fact]
    public void A_missing_tensor_a_wrong_shape_a_wrong_type_and_a_stray_tensor_are_named()
    {
        var arrays = TinyLlama.Arrays(TinyLlama.Config)
            .ToDictionary(static entry => entry.Key, static entry => SafetensorsArray.Of(entry.Value));
        void Refused(Action<Dictionary<string, SafetensorsArray>> change, params string[] expected)
        {
            var changed = new Dictionary<string, SafetensorsArray>(arrays);
            change(changed);
            using (var stream = File.Create(_folder.File("model.safetensors"))) SafetensorsWriter.Write(changed, Metadata, stream);
            AssertRefused(expected);
        }

        Refused(static changed => changed.Remove(Norm), "model.safetensors", Norm, "missing");
        Refused(static changed => changed[Norm] = SafetensorsArray.Of([4, 4], new float[16]), "model.safetensors", Norm, "[4, 4]",
            "expected [16]");
        Refused(static changed => changed[Norm] = SafetensorsArray.Of([16], new long[16]), "model.safetensors", Norm,
            "dtype I64", "expected");
        Refused(static changed => changed["model.extra"] = SafetensorsArray.Of([1], new float[1]), _folder.Root, "model.extra");
    }

    [Fact]
    public void A_folder_without_weights_or_with_a_truncated_file_is_refused()
    {
        AssertRefused(_folder.Root, "model.safetensors");
        Write("model.safetensors", TinyLlama.Arrays(TinyLlama.Config));
        var bytes = File.ReadAllBytes(_folder.File("model.safetensors"));
        File.WriteAllBytes(_folder.File("model.safetensors"), bytes[..^4]);
        AssertRefused("model.safetensors", "ordered range within");
    }

    [Theory]
    [InlineData("../model.safetensors")]
    [InlineData("/etc/model.safetensors")]
    [InlineData("a/../model.safetensors")]
    [InlineData("..\\model.safetensors")]
    [InlineData("model.bin")]
    [InlineData("")]
    public void A_shard_outside_the_folder_is_refused(string shard)
    {
        File.WriteAllText(_folder.File("model.safetensors.index.json"),
            System.Text.Json.JsonSerializer.Serialize(new { weight_map = new Dictionary<string, string> { [Norm] = shard } }));
        AssertRefused("index.json", Norm, $"'{shard}'");
    }

    [Fact]
    public void An_index_that_does_not_describe_its_shards_is_refused()
    {
        var arrays = TinyLlama.Arrays(TinyLlama.Config);
        WriteShards(arrays, static _ => "model-1.safetensors");
        Write("model-1.safetensors", new AdapterState(arrays.Where(static entry => entry.Key != Norm)));
        AssertRefused("model-1.safetensors", Norm, "missing");

        Write("model-1.safetensors", new AdapterState([.. arrays, KeyValuePair.Create("stray", new NamedArray([], [1]))]));
        AssertRefused("model-1.safetensors", "stray");

        File.Delete(_folder.File("model-1.safetensors"));
        AssertRefused("model-1.safetensors");

        File.WriteAllText(_folder.File("model.safetensors.index.json"), """{"metadata":{}}""");
        AssertRefused("index.json", "weight_map");
    }

    [Theory]
    [InlineData("rope_scaling", """{"rope_type":"yarn","factor":2.0}""")]
    [InlineData("rope_scaling", """{"type":"dynamic","factor":2.0}""")]
    [InlineData("rope_scaling", """{"type":"linear","factor":2.0,"attention_factor":0.5}""")]
    [InlineData("attention_bias", "\"yes\"")]
    [InlineData("hidden_act", "\"gelu\"")]
    [InlineData("sliding_window", "4096")]
    [InlineData("partial_rotary_factor", "0.5")]
    [InlineData("model_type", "\"mamba\"")]
    [InlineData("num_key_value_heads", "3")]
    [InlineData("head_dim", "7")]
    [InlineData("hidden_size", "0")]
    [InlineData("hidden_size", "64.5")]
    [InlineData("hidden_size", "2000000000")]
    [InlineData("intermediate_size", "2147483647")]
    [InlineData("vocab_size", "2147483647")]
    [InlineData("num_attention_heads", "16777220")]
    [InlineData("head_dim", "1073741824")]
    [InlineData("num_hidden_layers", "2001")]
    [InlineData("rms_norm_eps", "\"small\"")]
    [InlineData("tie_word_embeddings", "1")]
    public void A_setting_that_is_not_implemented_or_out_of_range_is_refused_by_name(string key, string value)
    {
        var json = System.Text.Json.Nodes.JsonNode.Parse(TinyLlama.Config.ToJson())!;
        json[key] = System.Text.Json.Nodes.JsonNode.Parse(value);

        var message = Assert.Throws<BadInputException>(() => ModelConfig.Parse(json.ToJsonString(), "config.json")).Message;

        Assert.StartsWith("config.json: ", message, StringComparison.Ordinal);
        Assert.Contains(key, message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', message);
    }

    [Theory]
    [InlineData("")]
    [InlineData("[]")]
    [InlineData("""{"model_type":"\ud800"}""")]
    [InlineData("""{"model_type":"llama","model_type":"llama"}""")]
    [InlineData("""{"hidden_size":64}""")]
    public void A_configuration_that_is_not_one_is_refused(string json) =>
        Assert.StartsWith("config.json: ", Assert.Throws<BadInputException>(() => ModelConfig.Parse(json, "config.json")).Message,
            StringComparison.Ordinal);

    [Fact]
    public void Settings_that_do_not_change_the_network_and_unknown_ones_that_are_off_are_accepted()
    {
        var json = System.Text.Json.Nodes.JsonNode.Parse(TinyLlama.Config.ToJson())!;
        json["torch_dtype"] = "bfloat16";
        json["_name_or_path"] = "somewhere";
        json["some_future_feature"] = null;
        ModelConfig.Parse(json.ToJsonString(), "config.json");
    }

    private static Dictionary<string, string> Metadata => new() { ["format"] = "pt" };

    private void Write(string file, AdapterState arrays)
    {
        using var stream = File.Create(_folder.File(file));
        SafetensorsCodec.Write(arrays, Metadata, stream);
    }

    private void WriteShards(AdapterState arrays, Func<string, string> shardOf)
    {
        foreach (var shard in arrays.GroupBy(entry => shardOf(entry.Key))) Write(shard.Key, new AdapterState(shard));
        var index = new
        {
            metadata = new { total_size = arrays.SizeBytes }, weight_map = arrays.Keys.ToDictionary(static name => name, shardOf),
        };
        File.WriteAllText(_folder.File("model.safetensors.index.json"), System.Text.Json.JsonSerializer.Serialize(index));
    }

    private Dictionary<string, float[]> LoadedValues()
    {
        using var model = ModelRegistry.Load(_folder.Root, CPU, ScalarType.Float32);
        Assert.All(model.Parameters.Values, static parameter => Assert.False(parameter.requires_grad));
        return model.Parameters.ToDictionary(static entry => entry.Key, static entry => entry.Value.data<float>().ToArray());
    }

    private void AssertRefused(params string[] expected)
    {
        var message = Assert.Throws<BadInputException>(() => ModelRegistry.Load(_folder.Root, CPU, ScalarType.Float32)).Message;
        Assert.DoesNotContain('\n', message);
        Assert.All(expected, part => Assert.Contains(part, message, StringComparison.Ordinal));
    }
}
