using FedRLora.Abstractions;
using FedRLora.Training.Conversion;
using FedRLora.Training.Gguf;
using FedRLora.Training.Gguf.Architectures;
using FedRLora.Training.Models;
using FedRLora.Training.Tests.Gguf;
using FedRLora.Training.Tests.Models;
using static TorchSharp.torch;

namespace FedRLora.Training.Tests.Conversion;

/// <summary>A model folder as a GGUF file, and a file as a folder.</summary>
public sealed class FolderAndGgufTests : IDisposable
{
    private readonly TemporaryFolder _root = new();

    public static TheoryData<string> Families => TinyModels.Families;

    public static TheoryData<string> Models => GgufFixtures.Models;

    public void Dispose() => _root.Dispose();

    [Theory, MemberData(nameof(Families))]
    public void A_folder_of_any_family_comes_back_from_a_file_bit_for_bit(string family)
    {
        var config = TinyModels.Configs[family] with { SlidingWindow = null };
        if (family == "qwen2") config = config with { HeadDim = 4 };
        var folder = TinyFolder.Write(_root.File("model"), config, Whole);

        FolderToGguf.Write(folder, _root.File("model.gguf"), WeightType.F32);
        GgufToFolder.Write(_root.File("model.gguf"), _root.File("again"), WeightType.F32);

        // Mistral without a window is Llama.
        Assert.Equal((config with { ModelType = family == "mistral" ? "llama" : family, BeginId = null, EndIds = [] }).ToJson(),
            ModelConfig.Load(_root.File("again")).ToJson());
        Assert.Equal(TinyFolder.Values(folder), TinyFolder.Values(_root.File("again")));
    }

    [SharedTheory, MemberData(nameof(Models))]
    public void A_file_comes_back_from_a_folder_with_every_number(string model)
    {
        var path = GgufFixtures.Of(model, ".gguf");
        if (TokenizerToGgufTests.Refusal(path) is { } refused)
        {
            Assert.Equal(refused, Assert.Throws<BadInputException>(
                () => GgufToFolder.Write(path, _root.File("folder"), WeightType.F32)).Message);
            return;
        }

        GgufToFolder.Write(path, _root.File("folder"), WeightType.F32);
        FolderToGguf.Write(_root.File("folder"), _root.File("again.gguf"), WeightType.F32);

        using var file = GgufFile.Open(path);
        using var again = GgufFile.Open(_root.File("again.gguf"));
        Assert.Equal(file.Tensors.Keys.Order(), again.Tensors.Keys.Order());
        foreach (var (name, tensor) in file.Tensors)
        {
            Assert.Equal(GgmlType.F32, again.Tensors[name].Type);
            Assert.Equal(GgufValues.Of(file, tensor), GgufValues.Of(again, again.Tensors[name]));
        }
    }

    [SharedTheory, MemberData(nameof(LlamaCppTests.SharedModels), MemberType = typeof(LlamaCppTests))]
    public void A_real_folder_has_its_numbers_and_logits_from_its_file(string model)
    {
        var folder = SharedFolder.Of(model);

        FolderToGguf.Write(folder, _root.File("model.gguf"), WeightType.F32);
        GgufToFolder.Write(_root.File("model.gguf"), _root.File("again"), WeightType.F32);

        var (stored, again) = (TinyFolder.Values(folder), TinyFolder.Values(_root.File("again")));
        Assert.All(again, entry => Assert.Equal(stored[entry.Key], entry.Value));
        Assert.Equal(Logits(folder, 200), Logits(_root.File("model.gguf"), 200));
    }

    [Fact]
    public void Four_hundred_tokens_turn_as_the_folder_says()
    {
        var config = TinyLlama.Config with { MaxPositions = 512, RopeTheta = 500000 };
        foreach (var scaling in new RopeScaling?[] { null, new() { Factor = 4 }, new() { Factor = 8, Bands = new(1, 4, 64) } })
        {
            var name = $"{scaling?.Factor}-{scaling?.Bands}";
            var folder = TinyFolder.Write(_root.File(name), config with { RopeScaling = scaling });

            FolderToGguf.Write(folder, _root.File(name + ".gguf"), WeightType.F32);

            // A factor for each frequency is rounded once more than the formula that it is from.
            var distance = Logits(folder, 400)
                .Zip(Logits(_root.File(name + ".gguf"), 400), static (one, other) => MathF.Abs(one - other)).Max();
            Assert.True(distance <= (scaling?.Bands is null ? 0 : 1e-4f), $"{name}: {distance}");
        }
    }

    [Fact]
    public void Rows_of_queries_and_keys_lie_as_llama_cpp_wants_them()
    {
        var folder = TinyFolder.Write(_root.File("model"), TinyLlama.Config);

        FolderToGguf.Write(folder, _root.File("model.gguf"), WeightType.F32);

        using var file = GgufFile.Open(_root.File("model.gguf"));
        var (stored, key) = (TinyFolder.Values(folder), GgufValues.Of(file, file.Tensors["blk.1.attn_k.weight"]));
        var expected = stored["model.layers.1.self_attn.k_proj.weight"].Chunk(TinyLlama.Config.HiddenSize).ToList();
        Assert.Equal((int[])[0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11], // two heads of 6: pairs (0, 3), (1, 4), (2, 5) become neighbours
            key.Chunk(TinyLlama.Config.HiddenSize).Select(row => expected.FindIndex(row.SequenceEqual)));
    }

    [Fact]
    public void A_norm_of_gemma_is_stored_with_the_1_that_hugging_face_leaves_out()
    {
        var folder = TinyFolder.Write(_root.File("model"), TinyModels.Configs["gemma"],
            static arrays => Array.Clear(arrays["model.norm.weight"].Data));

        FolderToGguf.Write(folder, _root.File("model.gguf"), WeightType.F32);

        using var file = GgufFile.Open(_root.File("model.gguf"));
        Assert.All(GgufValues.Of(file, file.Tensors["output_norm.weight"]), static value => Assert.Equal(1, value));
    }

    [Theory]
    [InlineData("f16", "F16")]
    [InlineData("bf16", "BF16")]
    [InlineData("q8_0", "Q8_0")]
    public void Matrices_take_the_wanted_type_and_vectors_stay_float32(string type, string expected)
    {
        var config = TinyLlama.Config with { HiddenSize = 64, IntermediateSize = 96, HeadDim = 16, AttentionBias = true };
        var folder = TinyFolder.Write(_root.File("model"), config);

        var report = FolderToGguf.Write(folder, _root.File("model.gguf"), WeightTypes.ByName[type]);

        Assert.EndsWith("the file gets no tokenizer", Assert.Single(report.Notes));
        using var file = GgufFile.Open(_root.File("model.gguf"));
        Assert.All(file.Tensors.Values, tensor => Assert.Equal(tensor.Shape.Length == 1 ? "F32" : expected, tensor.Type.ToString()));
        Assert.Equal([("F32", file.Tensors.Values.Count(static tensor => tensor.Shape.Length == 1)),
            (expected, file.Tensors.Values.Count(static tensor => tensor.Shape.Length == 2))], report.Types.OrderBy(t => t.Type != "F32"));
    }

    [Fact]
    public void A_row_that_no_block_divides_is_named_with_what_it_became()
    {
        var config = TinyLlama.Config with { HiddenSize = 64, IntermediateSize = 172, HeadDim = 16 };
        var folder = TinyFolder.Write(_root.File("model"), config);

        var report = FolderToGguf.Write(folder, _root.File("model.gguf"), WeightType.Q8);

        Assert.Equal(["blk.0.ffn_down.weight", "blk.1.ffn_down.weight"], report.Notes.Skip(1).Select(static note => note.Split(':')[0]));
        Assert.All(report.Notes.Skip(1), static note => Assert.EndsWith("written as F16", note));
        using var file = GgufFile.Open(_root.File("model.gguf"));
        Assert.Equal(GgmlType.F16, file.Tensors["blk.0.ffn_down.weight"].Type);
        Assert.Equal(GgmlType.Q8_0, file.Tensors["blk.0.ffn_up.weight"].Type);
    }

    [Theory]
    [InlineData(1e5f, "f16", "F16 cannot hold")]
    [InlineData(3.4e38f, "bf16", "BF16 cannot hold")]
    [InlineData(1e8f, "q8_0", "Q8_0 cannot hold")]
    public void A_number_that_does_not_fit_is_named_and_nothing_is_left(float value, string type, string expected)
    {
        var config = TinyLlama.Config with { HiddenSize = 64, IntermediateSize = 96, HeadDim = 16 };
        var folder = TinyFolder.Write(_root.File("model"), config,
            arrays => arrays["model.layers.1.mlp.up_proj.weight"].Data[64 * 3 + 5] = value);

        var problem = Assert.Throws<BadInputException>(
            () => FolderToGguf.Write(folder, _root.File("model.gguf"), WeightTypes.ByName[type]));

        Assert.Contains("blk.1.ffn_up.weight", problem.Message);
        Assert.Contains("[3, 5]", problem.Message);
        Assert.Contains(expected, problem.Message);
        Assert.Equal([folder], Directory.GetFileSystemEntries(_root.Root));
    }

    [Theory]
    [InlineData("f16", "F16 cannot hold")]
    [InlineData("bf16", "BF16 cannot hold")]
    public void A_number_that_does_not_fit_a_narrower_folder_is_named_and_nothing_is_left(string type, string expected)
    {
        var folder = TinyFolder.Write(_root.File("model"), TinyLlama.Config,
            static arrays => arrays["model.layers.0.self_attn.q_proj.weight"].Data[16 + 2] = 3.4e38f); // row 1, which the file has as row 2
        FolderToGguf.Write(folder, _root.File("model.gguf"), WeightType.F32);

        var problem = Assert.Throws<BadInputException>(
            () => GgufToFolder.Write(_root.File("model.gguf"), _root.File("again"), WeightTypes.ByName[type]));

        Assert.Contains("blk.0.attn_q.weight", problem.Message);
        Assert.Contains("[1, 2]", problem.Message);
        Assert.Contains(expected, problem.Message);
        Assert.Equal([folder, _root.File("model.gguf")], Directory.GetFileSystemEntries(_root.Root).Order());
    }

    [Fact]
    public void What_exists_is_not_written_over()
    {
        var folder = TinyFolder.Write(_root.File("model"), TinyLlama.Config);
        FolderToGguf.Write(folder, _root.File("model.gguf"), WeightType.F32);

        Assert.Contains("exists already", Assert.Throws<BadInputException>(
            () => FolderToGguf.Write(folder, _root.File("model.gguf"), WeightType.F32)).Message);
        Assert.Contains("exists already", Assert.Throws<BadInputException>(
            () => GgufToFolder.Write(_root.File("model.gguf"), folder, WeightType.F32)).Message);
    }

    [Fact]
    public void What_llama_cpp_does_not_compute_is_refused_by_key()
    {
        void Refuses(string key, ModelConfig config)
        {
            var folder = TinyFolder.Write(_root.File(key), config);
            Assert.Contains(key, Assert.Throws<BadInputException>(
                () => FolderToGguf.Write(folder, _root.File("model.gguf"), WeightType.F32)).Message);
        }

        Refuses("sliding_window", TinyModels.Configs["mistral"]);
        Refuses("tie_word_embeddings", TinyModels.Configs["gemma"] with { TieWordEmbeddings = false });
        Refuses("attention_bias", TinyModels.Configs["qwen3"] with { AttentionBias = true });
        Refuses("head_dim", TinyModels.Configs["qwen2"]);
        Refuses("rope_scaling", TinyModels.Configs["qwen3"] with { RopeScaling = new() { Factor = 8, Bands = new(1, 4, 32) } });
        Refuses("rope_theta", TinyLlama.Config with { RopeTheta = 10000.000001 });
    }

    private static float[] Logits(string path, int tokens)
    {
        using var scope = NewDisposeScope();
        using var inference = no_grad();
        using var model = ModelRegistry.Load(path, CPU, ScalarType.Float32);
        var ids = tensor(Enumerable.Range(1, tokens).Select(id => (long)(id * 7 % model.Config.VocabularySize)).ToArray(), [1, tokens]);
        return model.LogitsOf(model.Hidden(ids, null, null), null).contiguous().data<float>().ToArray();
    }

    // Norms of Gemma whose sum with 1 float32 holds exactly.
    private static void Whole(Dictionary<string, Abstractions.Tensors.NamedArray> arrays)
    {
        foreach (var (name, array) in arrays)
        {
            if (!name.EndsWith("norm.weight", StringComparison.Ordinal)) continue;
            for (var i = 0; i < array.Data.Length; i++) array.Data[i] = MathF.Round(array.Data[i] * 1024) / 1024;
        }
    }
}
