using System.Text.Json;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Gguf;
using FedRLora.Training.Models;
using FedRLora.Training.Tests.Adapters.Peft;
using FedRLora.Training.Tests.Models;
using Xunit.Abstractions;
using static TorchSharp.torch;

namespace FedRLora.Training.Tests.Gguf;

/// <summary>
/// Models in GGUF files beside the same weights in transformers and PEFT, on the blocks as they lie in the file and widened; tolerances
/// are those of the fixtures' README.
/// </summary>
public sealed class GgufModelTests(ITestOutputHelper output)
{
    public static TheoryData<string> Files => Fixtures.Of("gguf/model/*");

    public static TheoryData<string> Adapters => Fixtures.Of("gguf/adapter/*");

    public static TheoryData<string, WeightStorage> Stored => InBoth(Files);

    public static TheoryData<string, WeightStorage> StoredAdapters => InBoth(Adapters);

    [SharedTheory, MemberData(nameof(Stored))]
    public void Logits_hidden_states_and_loss_match_the_reference(string place, WeightStorage storage)
    {
        var (model, io) = Open(place, storage);
        using (model)
        using (io) ModelFixtureTests.AssertMatches(model, io, Json(place).GetProperty("loss").GetDouble(), output);
    }

    [SharedTheory, MemberData(nameof(Stored))]
    public void Greedy_continuation_matches_the_reference(string place, WeightStorage storage)
    {
        var (model, io) = Open(place, storage);
        using (model)
        using (io) ModelFixtureTests.AssertContinues(model, io.ReadInt64("input_ids")[..8], io.ReadInt64("greedy_ids"));
    }

    [SharedTheory, MemberData(nameof(Files))]
    public void Every_block_type_of_the_file_stays_as_it_is_in_memory(string place)
    {
        var (model, io) = Open(place, WeightStorage.AsStored);
        using (model)
        using (io)
        {
            var matrices = model.AdaptableLayers.Select(static layer => layer.Module + ".weight").ToHashSet(StringComparer.Ordinal);
            var types = Json(place).GetProperty("tensors").EnumerateArray()
                .Where(tensor => matrices.Contains(tensor.GetProperty("hf").GetString()!))
                .Select(static tensor => tensor.GetProperty("type").GetString()!).Distinct();
            Assert.Equal(types.Select(Named).Order(StringComparer.Ordinal), model.StoredBytes.Keys.Order(StringComparer.Ordinal));
        }
    }

    [SharedTheory, MemberData(nameof(Files))]
    public void Text_goes_through_the_file_s_tokenizer_or_is_refused_by_its_key(string place)
    {
        var path = GgufFixtures.Of(Name(place), ".gguf");
        var metadata = GgufFile.ReadHeader(path).Metadata;
        if (metadata.Has("tokenizer.ggml.pre") || metadata.Text("tokenizer.ggml.model") != "gpt2")
        {
            using var loaded = FrozenBase.Load(path, CPU);
            Assert.NotEmpty(loaded.Tokenizer.Encode("a b", addSpecialTokens: false));
        }
        else
        {
            Assert.Contains("tokenizer.ggml.pre", Assert.Throws<BadInputException>(() => FrozenBase.Load(path, CPU)).Message);
        }
    }

    [SharedTheory, MemberData(nameof(StoredAdapters))]
    public void An_adapter_over_the_quantized_base_has_the_reference_s_logits_gradients_and_steps(string folder, WeightStorage storage)
    {
        var settings = JsonDocument.Parse(File.ReadAllText(SharedFolder.Of(folder, "expected.json"))).RootElement;
        var file = Path.Combine(Path.GetDirectoryName(folder)!, settings.GetProperty("base").GetString()!);
        using var model = ModelRegistry.Load(SharedFolder.Of(file), CPU, storage);
        using var io = SafetensorsFile.Open(SharedFolder.Of(Path.ChangeExtension(file, ".expected.safetensors")));
        using var expected = SafetensorsFile.Open(SharedFolder.Of(folder, "io.safetensors"));
        PeftFixtureTests.AssertSteps(model, io, SharedFolder.Of(folder), expected, settings, output);
    }

    private static (CausalLanguageModel Model, SafetensorsFile Numbers) Open(string place, WeightStorage storage)
    {
        var io = SafetensorsFile.Open(GgufFixtures.Of(Name(place), ".expected.safetensors"));
        return (ModelRegistry.Load(GgufFixtures.Of(Name(place), ".gguf"), CPU, storage), io);
    }

    private static JsonElement Json(string place) => GgufFixtures.Expected(Name(place));

    private static string Name(string place) => place.Replace('#', '/');

    private static string Named(string type) => type switch { "F16" => "float16", "BF16" => "bfloat16", "F32" => "float32", _ => type };

    private static TheoryData<string, WeightStorage> InBoth(TheoryData<string> places)
    {
        var both = new TheoryData<string, WeightStorage>();
        foreach (var place in places.Cast<object[]>().Select(static row => (string)row[0]))
        {
            both.Add(place, WeightStorage.AsStored);
            both.Add(place, WeightStorage.Float32);
        }

        return both;
    }
}
