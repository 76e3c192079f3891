using System.Text.Json.Nodes;
using FedRLora.Abstractions;
using FedRLora.Training.Conversion;
using FedRLora.Training.Gguf;
using FedRLora.Training.Gguf.Architectures;
using FedRLora.Training.Tests.Models;

namespace FedRLora.Training.Tests.Conversion;

/// <summary>An adapter folder as a GGUF adapter.</summary>
public sealed class AdapterToGgufTests : IDisposable
{
    private readonly TemporaryFolder _root = new();
    private readonly string _model;

    public AdapterToGgufTests() => _model = TinyFolder.Write(_root.File("model"), TinyLlama.Config);

    public void Dispose() => _root.Dispose();

    [Fact]
    public void It_says_what_llama_cpp_asks_for()
    {
        using var file = Written();

        Assert.Equal(("adapter", "lora", "llama", 6.0), (file.Metadata.Text("general.type"), file.Metadata.Text("adapter.type"),
            file.Metadata.Text("general.architecture"), file.Metadata.Number("adapter.lora.alpha")));
        Assert.Equal((long[])[4, 16], file.Tensors["blk.1.ffn_up.weight.lora_a"].Shape);
        Assert.Equal((long[])[24, 4], file.Tensors["blk.1.ffn_up.weight.lora_b"].Shape);
        Assert.Equal((long[])[32, 4], file.Tensors["token_embd.weight.lora_a"].Shape);
        Assert.Equal((long[])[16, 4], file.Tensors["token_embd.weight.lora_b"].Shape);
    }

    [Fact]
    public void Equal_scalings_of_several_ranks_are_said_by_one_alpha()
    {
        using var file = Written(static config => config["rank_pattern"] = new JsonObject { ["up_proj"] = 8 },
            static module => module.EndsWith("up_proj", StringComparison.Ordinal) ? 8 : 4);

        Assert.Equal(6, file.Metadata.Number("adapter.lora.alpha"));
        Assert.Equal((long[])[8, 16], file.Tensors["blk.0.ffn_up.weight.lora_a"].Shape);
    }

    [Fact]
    public void A_scaling_that_differs_by_a_power_of_two_goes_into_b()
    {
        using var plain = Written(name: "plain");
        using var file = Written(static config => config["alpha_pattern"] = new JsonObject { ["up_proj"] = 24 });

        Assert.Equal(GgufValues.Of(plain, plain.Tensors["blk.0.ffn_up.weight.lora_b"]).Select(static value => 4 * value),
            GgufValues.Of(file, file.Tensors["blk.0.ffn_up.weight.lora_b"]));
    }

    [Fact]
    public void A_scaling_that_no_alpha_says_is_refused_by_its_module() => Refused("up_proj",
        static config => config["alpha_pattern"] = new JsonObject { ["up_proj"] = 7 });

    [Fact]
    public void A_decomposed_adapter_is_refused()
    {
        Refused("use_dora", static config => config["use_dora"] = true, embedding: false);
    }

    [Fact]
    public void An_adapter_of_an_embedding_that_is_the_lm_head_too_is_refused()
    {
        var tied = TinyFolder.Write(_root.File("tied"), TinyLlama.Config with { TieWordEmbeddings = true });
        TinyAdapter.Write(_root.File("adapter"), tied);

        Assert.Contains("embed_tokens", Assert.Throws<BadInputException>(
            () => AdapterToGguf.Write(_root.File("adapter"), tied, _root.File("adapter.gguf"), WeightType.F32)).Message);
    }

    [Fact]
    public void Trained_biases_are_refused()
    {
        var biased = TinyFolder.Write(_root.File("biased"), TinyLlama.Config with { AttentionBias = true });
        TinyAdapter.Write(_root.File("adapter"), biased, static config => config["bias"] = "all");

        Assert.Contains("bias", Assert.Throws<BadInputException>(
            () => AdapterToGguf.Write(_root.File("adapter"), biased, _root.File("adapter.gguf"), WeightType.F32)).Message);
    }

    [Fact]
    public void An_adapter_of_another_model_is_refused()
    {
        TinyAdapter.Write(_root.File("adapter"), _model);
        var other = TinyFolder.Write(_root.File("other"), TinyLlama.Config with { HiddenSize = 24 });

        Assert.Contains("shape", Assert.Throws<BadInputException>(
            () => AdapterToGguf.Write(_root.File("adapter"), other, _root.File("adapter.gguf"), WeightType.F32)).Message);
    }

    [Fact]
    public void An_adapter_of_the_model_as_a_gguf_file_is_the_same()
    {
        FolderToGguf.Write(_model, _root.File("model.gguf"), WeightType.F32);
        TinyAdapter.Write(_root.File("adapter"), _model);

        AdapterToGguf.Write(_root.File("adapter"), _model, _root.File("one.gguf"), WeightType.F32);
        AdapterToGguf.Write(_root.File("adapter"), _root.File("model.gguf"), _root.File("two.gguf"), WeightType.F32);

        Assert.Equal(File.ReadAllBytes(_root.File("one.gguf")), File.ReadAllBytes(_root.File("two.gguf")));
    }

    private GgufFile Written(Action<JsonObject>? change = null, Func<string, int>? rank = null, string name = "adapter")
    {
        TinyAdapter.Write(_root.File(name), _model, change, rank);
        AdapterToGguf.Write(_root.File(name), _model, _root.File(name + ".gguf"), WeightType.F32);
        return GgufFile.Open(_root.File(name + ".gguf"));
    }

    private void Refused(string expected, Action<JsonObject> change, bool embedding = true)
    {
        TinyAdapter.Write(_root.File("adapter"), _model, change, embedding: embedding);
        Assert.Contains(expected, Assert.Throws<BadInputException>(
            () => AdapterToGguf.Write(_root.File("adapter"), _model, _root.File("adapter.gguf"), WeightType.F32)).Message);
        Assert.False(File.Exists(_root.File("adapter.gguf")));
    }
}
