using System.Text.Json;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Models;
using TorchSharp;
using Xunit.Abstractions;
using static TorchSharp.torch;

namespace FedRLora.Training.Tests.Models;

/// <summary>Parity with Hugging Face transformers (fp32, eager); tolerances are those of the fixtures' README.</summary>
public sealed class ModelFixtureTests(ITestOutputHelper output)
{
    public static TheoryData<string> Folders => Fixtures.Of("model/*");

    [SharedTheory, MemberData(nameof(Folders))]
    public void Logits_hidden_states_and_loss_match_the_reference(string folder)
    {
        using var model = ModelRegistry.Load(SharedFolder.Of(folder), CPU, ScalarType.Float32);
        using var io = SafetensorsFile.Open(SharedFolder.Of(folder, "io.safetensors"));
        AssertMatches(model, io, Expected(folder).GetProperty("loss").GetDouble(), output);
    }

    [SharedTheory, MemberData(nameof(Folders))]
    public void A_row_alone_and_without_a_mask_has_the_logits_that_it_has_in_its_batch(string folder)
    {
        using var scope = NewDisposeScope();
        using var inference = no_grad();
        using var model = ModelRegistry.Load(SharedFolder.Of(folder), CPU, ScalarType.Float32);
        using var io = SafetensorsFile.Open(SharedFolder.Of(folder, "io.safetensors"));
        var (ids, reference) = (Int64(io, "input_ids"), tensor(io.ReadFloat32("logits"), [.. io.Describe("logits").Shape]));
        var lengths = Int64(io, "attention_mask").sum(1).data<long>().ToArray();
        for (var row = 0; row < lengths.Length; row++)
        {
            var alone = model.LogitsOf(model.Hidden(ids.narrow(0, row, 1).narrow(1, 0, lengths[row]).contiguous(), null, null), null);
            Close.Assert(reference[row].narrow(0, 0, lengths[row]).contiguous().data<float>().ToArray(),
                alone.contiguous().data<float>().ToArray(), $"logits of row {row}");
        }

        Assert.Contains(lengths, length => length < ids.shape[1]);
        Assert.Contains(lengths, length => length == ids.shape[1]);
    }

    [SharedTheory, MemberData(nameof(Folders))]
    public void Greedy_continuation_matches_the_reference(string folder)
    {
        using var model = ModelRegistry.Load(SharedFolder.Of(folder), CPU, ScalarType.Float32);
        using var io = SafetensorsFile.Open(SharedFolder.Of(folder, "io.safetensors"));
        var expected = io.ReadInt64("greedy_ids");
        AssertContinues(model, expected[..8], expected[8..]);
    }

    [SharedTheory, MemberData(nameof(Folders))]
    public void The_model_computes_in_float64_too(string folder)
    {
        using var scope = NewDisposeScope();
        using var inference = no_grad();
        using var model = ModelRegistry.Load(SharedFolder.Of(folder), CPU, ScalarType.Float64);
        using var io = SafetensorsFile.Open(SharedFolder.Of(folder, "io.safetensors"));

        var logits = model.LogitsOf(model.Hidden(Int64(io, "input_ids"), null, null), null);

        Assert.Equal(ScalarType.Float64, logits.dtype);
        var (expected, loss) = (Expected(folder), Loss(logits, Int64(io, "labels")));
        if (expected.GetProperty("loss_float64") is { ValueKind: JsonValueKind.Number } wide)
            Close.AssertRelative(wide.GetDouble(), loss, "loss", 1e-6);
        else Close.AssertRelative(expected.GetProperty("loss").GetDouble(), loss, "loss"); // the reference's GPT-NeoX has no float64 run
    }

    /// <summary>A batch with padding: hidden states and logits of all real tokens, and the loss.</summary>
    internal static void AssertMatches(CausalLanguageModel model, SafetensorsFile io, double loss, ITestOutputHelper output)
    {
        using var scope = NewDisposeScope();
        using var inference = no_grad();
        var (ids, mask) = (Int64(io, "input_ids"), Int64(io, "attention_mask"));
        var states = new List<Tensor>();

        var logits = model.LogitsOf(model.Hidden(ids, mask, null, states), null);

        for (var i = 0; i < states.Count; i++) Compare(io, $"hidden_states.{i}", states[i], mask, output);
        Assert.Equal(model.Config.Layers + 1, states.Count);
        Compare(io, "logits", logits, mask, output);
        var actual = Loss(logits, Int64(io, "labels"));
        output.WriteLine($"loss: relative difference {Math.Abs(actual - loss) / loss:E2}");
        Close.AssertRelative(loss, actual, "loss");
    }

    /// <summary>The most likely tokens, through the cache.</summary>
    internal static void AssertContinues(CausalLanguageModel model, IEnumerable<long> prompt, IReadOnlyCollection<long> expected) =>
        Assert.Equal(
            expected.Select(static id => (int)id),
            Generation.Greedy(model, null, [.. prompt.Select(static id => (int)id)], expected.Count, endId: null));

    internal static Tensor Int64(SafetensorsFile file, string name) =>
        tensor(file.ReadInt64(name), [.. file.Describe(name).Shape], ScalarType.Int64);

    internal static double Loss(Tensor logits, Tensor labels)
    {
        var (tokens, width) = (logits.shape[1], logits.shape[2]);
        return nn.functional.cross_entropy(logits.narrow(1, 0, tokens - 1).reshape(-1, width), labels.narrow(1, 1, tokens - 1).reshape(-1))
            .to(ScalarType.Float64).item<double>();
    }

    private static JsonElement Expected(string folder) =>
        JsonDocument.Parse(File.ReadAllText(SharedFolder.Of(folder, "expected.json"))).RootElement;

    private static void Compare(SafetensorsFile io, string name, Tensor actual, Tensor mask, ITestOutputHelper output)
    {
        var reference = tensor(io.ReadFloat32(name), [.. io.Describe(name).Shape]);
        var real = mask.to(ScalarType.Bool).reshape(-1);
        float[] Rows(Tensor values) => values.reshape(-1, values.shape[^1])[real].data<float>().ToArray();
        output.WriteLine($"{name}: largest difference {Close.Assert(Rows(reference), Rows(actual), name):E2}");
    }
}
