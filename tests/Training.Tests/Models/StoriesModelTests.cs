using System.Text.Json;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Models;
using TorchSharp;
using Xunit.Abstractions;
using static TorchSharp.torch;

namespace FedRLora.Training.Tests.Models;

/// <summary>A real pretrained model: what transformers computed on genuine weights and genuine text.</summary>
public sealed class StoriesModelTests(ITestOutputHelper output)
{
    public static TheoryData<string> Folders => Fixtures.Of("real-model");

    [SharedTheory, MemberData(nameof(Folders))]
    public void Logits_and_losses_of_real_texts_match_the_reference(string folder)
    {
        using var scope = NewDisposeScope();
        using var inference = no_grad();
        using var model = Load(folder);
        using var io = OpenFixture(folder);
        var texts = Expected(folder).GetProperty("texts");
        var largest = 0.0;
        for (var i = 0; i < texts.GetArrayLength(); i++)
        {
            var ids = ModelFixtureTests.Int64(io, $"{i}.input_ids");
            var logits = model.LogitsOf(model.Hidden(ids, null, null), null);
            var first = logits.narrow(1, 0, 48).contiguous().data<float>().ToArray();
            largest = Math.Max(largest, Close.Assert(io.ReadFloat32($"{i}.logits_first_48"), first, $"{i}.logits_first_48"));
            Close.AssertRelative(texts[i].GetProperty("loss").GetDouble(), ModelFixtureTests.Loss(logits, ids), $"loss of text {i}");
        }

        output.WriteLine($"largest difference {largest:E2}");
    }

    [SharedTheory, MemberData(nameof(Folders))]
    public void Two_hundred_greedy_tokens_match_the_reference(string folder)
    {
        using var model = Load(folder);
        using var io = OpenFixture(folder);
        var expected = io.ReadInt64("greedy_ids").Select(static id => (int)id).ToArray();

        var actual = Generation.Greedy(model, null, expected[..1], 200, endId: null);

        Assert.Equal(expected[1..], actual);
    }

    private static CausalLanguageModel Load(string folder) =>
        ModelRegistry.Load(SharedFolder.Of(Expected(folder).GetProperty("model").GetString()!), CPU, ScalarType.Float32);

    private static SafetensorsFile OpenFixture(string folder) => SafetensorsFile.Open(SharedFolder.Of(folder, "io.safetensors"));

    private static JsonElement Expected(string folder) =>
        JsonDocument.Parse(File.ReadAllText(SharedFolder.Of(folder, "expected.json"))).RootElement;
}
