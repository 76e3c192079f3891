using FedRLora.Training.Adapters;
using FedRLora.Training.Conversion;
using FedRLora.Training.Models;
using FedRLora.Training.Tests.Models;
using TorchSharp;
using Xunit.Abstractions;
using static TorchSharp.torch;

namespace FedRLora.Training.Tests.Conversion;

/// <summary>llama.cpp reads what is written for it, and computes what we compute.</summary>
public sealed class LlamaCppTests(ITestOutputHelper output) : IDisposable
{
    private const float Distance = 1e-3f;

    // ggml takes a GELU from a table in float16, and has the tanh form alone.
    private const float WithGelu = 3e-3f;

    private static readonly int[] Tokens = [1, 5, 9, 30, 2, 17, 8, 8, 4, 21, 13, 7];

    private readonly TemporaryFolder _root = new();

    public static TheoryData<string> Families => TinyModels.Families;

    public void Dispose() => _root.Dispose();

    [LlamaCppTheory, MemberData(nameof(Families))]
    public void A_written_model_has_our_logits(string family)
    {
        var config = TinyModels.Configs[family] with { SlidingWindow = null };
        if (family == "qwen2") config = config with { HeadDim = 4 };
        if (family == "llama") config = config with { AttentionBias = true, RopeScaling = new() { Factor = 8, Bands = new(1, 4, 16) } };
        var folder = TinyFolder.Write(_root.File("model"), config);

        FolderToGguf.Write(folder, _root.File("model.gguf"), WeightType.F32);

        Compare(Ours(folder), LlamaCpp.Logits(_root.File("model.gguf"), Tokens, config.VocabularySize),
            family is "gemma" or "gpt2" or "phi" or "gpt_neox" ? WithGelu : Distance);
    }

    [LlamaCppTheory]
    [InlineData("llama")]
    [InlineData("qwen2")]
    [InlineData("gpt2")]
    [InlineData("gpt_neox")]
    public void A_written_adapter_on_a_written_model_has_our_logits(string family)
    {
        var config = TinyModels.Configs[family];
        if (family == "qwen2") config = config with { HeadDim = 4 };
        var folder = TinyFolder.Write(_root.File("model"), config);
        TinyAdapter.Write(_root.File("adapter"), folder, embedding: !config.TieWordEmbeddings);

        FolderToGguf.Write(folder, _root.File("model.gguf"), WeightType.F32);
        AdapterToGguf.Write(_root.File("adapter"), folder, _root.File("adapter.gguf"), WeightType.F32);
        MergedModel.Write(folder, _root.File("adapter"), _root.File("merged"));

        var theirs = LlamaCpp.Logits(_root.File("model.gguf"), Tokens, config.VocabularySize, _root.File("adapter.gguf"));
        Compare(Ours(_root.File("merged")), theirs, family is "gpt2" or "gpt_neox" ? WithGelu : Distance);
        var alone = Ours(folder);
        Assert.True(alone.Zip(theirs, static (one, other) => MathF.Abs(one - other)).Max() > 0.1f, "the adapter changes nothing");
    }

    [LlamaCppTheory, MemberData(nameof(SharedModels))]
    public void A_real_model_with_its_tokenizer_is_read_and_has_our_logits(string folder)
    {
        FolderToGguf.Write(SharedFolder.Of(folder), _root.File("model.gguf"), WeightType.F32);

        Compare(Ours(SharedFolder.Of(folder)), LlamaCpp.Logits(_root.File("model.gguf"), Tokens,
            ModelConfig.Load(SharedFolder.Of(folder)).VocabularySize), Distance);
    }

    public static TheoryData<string> SharedModels => [.. SharedFolder.FoldersOf("models").Select(static name => $"models/{name}")
        .Where(static folder => File.Exists(SharedFolder.Of(folder, "tokenizer.json")))];

    private static float[] Ours(string folder)
    {
        using var scope = NewDisposeScope();
        using var inference = no_grad();
        using var model = ModelRegistry.Load(folder, CPU, ScalarType.Float32);
        var ids = tensor(Tokens.Select(static id => (long)id).ToArray(), [1, Tokens.Length], ScalarType.Int64);
        return model.LogitsOf(model.Hidden(ids, null, null), null).contiguous().data<float>().ToArray();
    }

    private void Compare(float[] ours, float[] theirs, float most)
    {
        Assert.Equal(ours.Length, theirs.Length);
        var distance = ours.Zip(theirs, static (one, other) => MathF.Abs(one - other)).Max();
        output.WriteLine($"{distance:E2} of {ours.Max(MathF.Abs):F2} at most");
        Assert.True(distance <= most, $"{distance} apart");
        Assert.True(ours.Max(MathF.Abs) > 30 * most, "logits that are all small show nothing");
    }
}
