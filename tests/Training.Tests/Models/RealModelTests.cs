using System.Globalization;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using System.Text.Json;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Adapters;
using FedRLora.Training.Gguf;
using FedRLora.Training.Gguf.Architectures;
using FedRLora.Training.Models;
using FedRLora.Training.Models.Weights;
using Xunit.Abstractions;
using static TorchSharp.torch;

namespace FedRLora.Training.Tests.Models;

/// <summary>
/// A real model on the blocks of its GGUF file, and from the folder it is converted to, beside its reference; tolerances are those of the
/// reference's README. Only real tokens are looked at.
/// </summary>
[Collection(nameof(RealModels))]
public sealed class RealModelTests(RealModels models, ITestOutputHelper output)
{
    public static TheoryData<string> Names => RealModels.Names;

    public static TheoryData<string, bool> Both => RealModels.Both;

    public static TheoryData<string> Files => Fixtures.Of("gguf/real-model");

    [SharedTheory, MemberData(nameof(Names))]
    public void Every_tensor_is_to_the_bit_the_reference_s_as_stored_and_by_Hugging_Face_s_name_and_layout(string name)
    {
        using var scope = NewDisposeScope();
        using var file = GgufFile.Open(RealModels.FileOf(name)!);
        using var weights = ModelSource.At(RealModels.FileOf(name)!).OpenWeights();
        var matrices = models.Model(name).AdaptableLayers.Select(static layer => layer.Module + ".weight")
            .ToHashSet(StringComparer.Ordinal);
        var rows = RealModels.Json(name, "tensors.json").EnumerateArray().ToList();

        Assert.Equal(
            rows.Select(static row => row.GetProperty("name").GetString()!).Order(StringComparer.Ordinal),
            file.Tensors.Keys.Order(StringComparer.Ordinal));
        Assert.Equal(
            rows.Select(static row => row.GetProperty("hf_name").GetString()!).Order(StringComparer.Ordinal),
            weights.Names.Order(StringComparer.Ordinal));
        foreach (var row in rows)
        {
            using var part = NewDisposeScope();
            var (tensor, hf) = (file.Tensors[row.GetProperty("name").GetString()!], row.GetProperty("hf_name").GetString()!);
            Assert.Equal(row.GetProperty("ggml_type").GetString(), tensor.Type.ToString());
            long[] shape = [.. row.GetProperty("hf_shape").EnumerateArray().Select(static size => size.GetInt64())];
            var values = weights.Read(hf, shape, CPU, ScalarType.Float32);
            Assert.Equal(
                (hf, row.GetProperty("sha256_stored_bytes").GetString(), row.GetProperty("sha256_float32").GetString(),
                    row.GetProperty("sha256_hf_float32").GetString()),
                (hf, Digest(StoredBytes(file, tensor)), Digest(Widened(file, tensor)), Digest(values)));
            if (!matrices.Contains(hf)) continue;
            using var stored = weights.Stored(hf, shape, CPU);
            Assert.Equal(row.GetProperty("sha256_hf_float32").GetString(), Digest(stored.Whole(ScalarType.Float32)));
        }

        var converted = models.Model(name, isConverted: true).Parameters;
        foreach (var row in rows)
            Assert.Equal(row.GetProperty("sha256_hf_float32").GetString(), Digest(converted[row.GetProperty("hf_name").GetString()!]));
    }

    [SharedTheory, MemberData(nameof(Both))]
    public void Logits_hidden_states_and_losses_match_the_reference(string name, bool isConverted)
    {
        using var scope = NewDisposeScope();
        using var inference = no_grad();
        using var io = SafetensorsFile.Open(RealModels.Of(name, "io.safetensors"));
        var (model, mask) = (models.Model(name, isConverted), ModelFixtureTests.Int64(io, "attention_mask"));
        var (states, labels) = (new List<Tensor>(), ModelFixtureTests.Int64(io, "labels"));

        var logits = model.LogitsOf(model.Hidden(ModelFixtureTests.Int64(io, "input_ids"), mask, null, states), null);

        foreach (var key in io.Header.Tensors.Keys.Where(static key => key.StartsWith("hidden_states.", StringComparison.Ordinal)))
        {
            var actual = states[int.Parse(key.Split('.')[1], CultureInfo.InvariantCulture)];
            Compare(RealNumbers.Real(Floats(io, key), mask), RealNumbers.Real(actual, mask), key, 1e-4);
        }

        foreach (var (row, place) in ModelFixtureTests.Int64(io, "logits_full_positions").data<long>().Chunk(2).Index())
        {
            Compare(
                RealNumbers.Values(Floats(io, "logits_full")[row]), RealNumbers.Values(logits[place[0], place[1]]), $"logits {row}", 3e-4);
        }

        output.WriteLine($"top 16 and log-sum-exp: {RealNumbers.AssertSummary(io, logits, mask):E2}");
        var likelihoods = logits.log_softmax(-1);
        var learned = LearnedPlaces(labels);
        float[] own = [.. learned.Select(at => likelihoods[at.Row, at.Place - 1, at.Label].item<float>())];
        var stored = Floats(io, "label_logprob");
        Compare([.. learned.Select(at => stored[at.Row, at.Place - 1].item<float>())], own, "label_logprob", 3e-4);
        var loss = -own.Average();
        Close.AssertRelative(RealModels.Json(name, "expected.json").GetProperty("loss").GetDouble(), loss, "loss", 2e-5);
    }

    [SharedTheory, MemberData(nameof(Both))]
    public void Greedy_tokens_are_the_reference_s(string name, bool isConverted)
    {
        using var io = SafetensorsFile.Open(RealModels.Of(name, "io.safetensors"));
        var prompts = RealModels.Json(name, "expected.json").GetProperty("greedy").EnumerateArray().ToList();
        foreach (var (number, prompt) in prompts.Index())
        {
            var (ids, length) = (io.ReadInt64($"greedy_ids.{number}"), prompt.GetProperty("prompt_ids").GetArrayLength());
            ModelFixtureTests.AssertContinues(models.Model(name, isConverted), ids[..length], ids[length..]);
        }

        Assert.NotEmpty(prompts);
    }

    [SharedTheory, MemberData(nameof(Files))]
    public void Ten_best_logits_likelihoods_and_greedy_tokens_of_texts_match_the_other_reference(string place)
    {
        using var scope = NewDisposeScope();
        using var inference = no_grad();
        var expected = JsonDocument.Parse(File.ReadAllText(SharedFolder.Of(place.Split('#')))).RootElement;
        var name = RealModels.Names.Cast<object[]>().Select(static row => (string)row[0]).First(name =>
            Digest(File.ReadAllBytes(RealModels.FileOf(name)!)) == expected.GetProperty("sha256").GetString());
        var (model, tokenizer) = (models.Model(name), models.Base(name).Tokenizer);
        var largest = 0.0;
        foreach (var text in expected.GetProperty("texts").EnumerateArray())
        {
            long[] Ids(string key) => [.. text.GetProperty(key).EnumerateArray().Select(static id => id.GetInt64())];
            var ids = Ids("ids");
            Assert.Equal(ids, tokenizer.Encode(text.GetProperty("text").GetString()!, addSpecialTokens: true)
                .Select(static id => (long)id));
            var logits = model.LogitsOf(model.Hidden(tensor(ids, [1, ids.Length]), null, null), null)[0];
            foreach (var (at, best) in text.GetProperty("top10_ids").EnumerateArray().Index())
            {
                var chosen = tensor([.. best.EnumerateArray().Select(static id => id.GetInt64())]);
                float[] reference = [.. text.GetProperty("top10_logits")[at].EnumerateArray().Select(static logit => logit.GetSingle())];
                largest = Math.Max(
                    largest, Close.Assert(reference, RealNumbers.Values(logits[at].index_select(0, chosen)), $"logits {at}", 3e-4));
            }

            ModelFixtureTests.AssertContinues(model, ids, Ids("greedy_ids"));
        }

        output.WriteLine($"largest difference {largest:E2}");
    }

    private static List<(long Row, long Place, long Label)> LearnedPlaces(Tensor labels) =>
    [
        .. from row in Enumerable.Range(0, (int)labels.shape[0])
           from label in labels[row].data<long>().ToArray().Index().Skip(1)
           where label.Item >= 0
           select ((long)row, (long)label.Index, label.Item),
    ];

    private static string Digest(ReadOnlySpan<byte> bytes) => Convert.ToHexStringLower(SHA256.HashData(bytes));

    private static unsafe string Digest(Tensor values) =>
        Digest(new ReadOnlySpan<byte>(FrozenMatrices.PointerTo(values), checked((int)values.numel() * sizeof(float))));

    private static string Digest(float[] values) => Digest(MemoryMarshal.AsBytes(values.AsSpan()));

    private static unsafe ReadOnlySpan<byte> StoredBytes(GgufFile file, GgufTensor tensor) =>
        new(file.PointerTo(tensor), checked((int)(tensor.Rows * tensor.Type.RowBytes(tensor.Columns))));

    private static float[] Widened(GgufFile file, GgufTensor tensor) => GgufValues.Of(file, tensor);

    private static Tensor Floats(SafetensorsFile io, string name) => tensor(io.ReadFloat32(name), [.. io.Describe(name).Shape]);

    private void Compare(float[] reference, float[] actual, string what, double absolute) =>
        output.WriteLine($"{what}: {Close.Assert(reference, actual, what, absolute):E2}");
}
