using FedRLora.Abstractions;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Adapters;
using FedRLora.Training.Data.Tokenizers;
using FedRLora.Training.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training.Tests.Models;

public sealed class GenerationTests
{
    private static readonly int[] Prompt = [1, 5, 7];

    // Probabilities 0.5, 0.3, 0.15, 0.05, out of order.
    private static readonly float[] Known = [MathF.Log(0.15f), MathF.Log(0.5f), MathF.Log(0.05f), MathF.Log(0.3f)];

    public static TheoryData<string> Families => TinyModels.Families;

    public static TheoryData<string> Folders => ModelFixtureTests.Folders;

    [Theory, MemberData(nameof(Families))]
    public void The_cache_changes_nothing(string family)
    {
        using var model = TinyLlama.Create(TinyModels.Configs[family], ScalarType.Float64);
        Assert.Equal(Uncached(model, null, Prompt, 17), Generation.Greedy(model, null, Prompt, 17, endId: null));
    }

    [Theory, MemberData(nameof(Families))]
    public void Tokens_in_pieces_of_any_size_have_the_hidden_states_that_they_have_together(string family)
    {
        using var model = TinyLlama.Create(TinyModels.Configs[family], ScalarType.Float64);
        using var scope = NewDisposeScope();
        using var inference = no_grad();
        using var cache = new KeyValueCache();
        var ids = TinyLlama.Ids(1, 5, 7, 9, 3, 4, 6, 8, 2, 11, 12, 13);
        var whole = model.Hidden(ids, null, null);
        var first = 0L;
        foreach (var size in (long[])[3, 1, 6, 2])
        {
            var piece = model.Hidden(ids.narrow(1, first, size).contiguous(), null, null, cache: cache);
            Assert.True((piece - whole.narrow(1, first, size)).abs().max().item<double>() < 1e-12);
            first += size;
        }

        Assert.Equal(12, cache.Length);
        Assert.Contains("21 tokens",
            Assert.Throws<ArgumentException>(() => model.Hidden(zeros([1, 9], ScalarType.Int64), null, null, cache: cache)).Message,
            StringComparison.Ordinal);
    }

    [SharedTheory, MemberData(nameof(Folders))]
    public void The_reference_continues_alike_with_the_cache_and_without(string folder)
    {
        using var model = ModelRegistry.Load(SharedFolder.Of(folder), CPU, ScalarType.Float32);
        using var io = SafetensorsFile.Open(SharedFolder.Of(folder, "io.safetensors"));
        var expected = io.ReadInt64("greedy_ids").Select(static id => (int)id).ToArray();
        Assert.Equal(expected[8..], Uncached(model, null, expected[..8], expected.Length - 8));
        Assert.Equal(expected[8..], Generation.Greedy(model, null, expected[..8], expected.Length - 8, endId: null));
    }

    [SharedFact]
    public void A_real_model_with_an_adapter_continues_alike_with_the_cache_and_without()
    {
        using var scope = NewDisposeScope();
        using var model = ModelRegistry.Load(SharedFolder.Of("models", "stories260k"), CPU, ScalarType.Float32);
        using var pass = Adapted(model);
        var bare = Generation.Greedy(model, null, [1], 200, endId: null);
        var adapted = Generation.Greedy(model, pass, [1], 200, endId: null);
        Assert.Equal(Uncached(model, pass, [1], 200), adapted);
        Assert.NotEqual(bare, adapted);
    }

    [Fact]
    public void A_temperature_towards_zero_is_greedy()
    {
        using var model = TinyLlama.Create();
        Assert.Equal(Generation.Greedy(model, null, Prompt, 12, null),
            Sampled(model, new() { Temperature = 1e-6, Seed = 3, MaxNewTokens = 12 }));
    }

    [Fact]
    public void The_same_seed_draws_the_same_text_and_another_one_another()
    {
        using var model = TinyLlama.Create();
        var options = new SamplingOptions { Temperature = 1.5, TopP = 0.95, Seed = 3, MaxNewTokens = 15 };
        Assert.Equal(Sampled(model, options), Sampled(model, options));
        Assert.NotEqual(Sampled(model, options), Sampled(model, options with { Seed = 4 }));
    }

    [Theory]
    [InlineData(1.0, 0, new[] { 1, 3, 0, 2 })]
    [InlineData(0.96, 0, new[] { 1, 3, 0, 2 })]
    [InlineData(0.94, 0, new[] { 1, 3, 0 })]
    [InlineData(0.79, 0, new[] { 1, 3 })]
    [InlineData(0.49, 0, new[] { 1 })]
    [InlineData(1e-6, 0, new[] { 1 })]
    [InlineData(1.0, 3, new[] { 1, 3, 0 })]
    [InlineData(0.52, 2, new[] { 1 })] // of the two that are left, the first has 0.625
    public void Top_p_keeps_the_smallest_set_whose_mass_reaches_it(double topP, int topK, int[] expected) =>
        Assert.Equal(expected,
            Sampler.Candidates(Known, new() { Temperature = 1, TopP = topP, TopK = topK }).Select(static candidate => candidate.Id));

    [Fact]
    public void Draws_have_the_frequencies_of_their_probabilities()
    {
        using var sampler = new Sampler(new() { Temperature = 1, TopP = 0.79, Seed = 1 });
        const int Draws = 4000;
        var drawn = Enumerable.Range(0, Draws).Select(_ => sampler.Next(Known)).CountBy(static id => id).ToDictionary();
        Assert.Equal([1, 3], drawn.Keys.Order());
        Assert.InRange(drawn[1] / (double)Draws, 0.625 - 0.03, 0.625 + 0.03);
    }

    [Fact]
    public void Any_of_the_end_tokens_ends_a_text()
    {
        using var model = TinyLlama.Create();
        var free = Generation.Greedy(model, null, Prompt, 8, null);
        int[] ends = [free[^1], free[2]];
        Assert.Equal(free.TakeWhile(id => !ends.Contains(id)).Count() + 1, Sampled(model, new() { MaxNewTokens = 8, EndIds = ends }).Count);
    }

    [Fact]
    public void The_end_tokens_of_a_folder_are_those_of_all_its_files()
    {
        using var tiny = new TinyFederation();
        var folder = Path.Combine(tiny.Root, "model");
        File.WriteAllText(Path.Combine(folder, "config.json"), (TinyLlama.Config with { EndIds = [4, 9] }).ToJson());
        File.WriteAllText(Path.Combine(folder, "generation_config.json"), """{"eos_token_id":[9,11],"temperature":0.6}""");
        using (var model = FrozenBase.Load(folder, CPU)) Assert.Equal([2, 4, 9, 11], model.EndIds.Order());

        File.WriteAllText(Path.Combine(folder, "generation_config.json"), """{"eos_token_id":"</s>"}""");
        Assert.Contains("generation_config.json: eos_token_id", Assert.Throws<BadInputException>(() => FrozenBase.Check(folder)).Message,
            StringComparison.Ordinal);
    }

    [Fact]
    public void Options_out_of_range_are_refused()
    {
        using var model = TinyLlama.Create();
        foreach (var options in (SamplingOptions[])[new() { Temperature = -1 }, new() { Temperature = double.NaN }, new() { TopP = 0 },
            new() { TopP = 1.1 }, new() { TopK = -1 }])
            Assert.Throws<ArgumentException>(() => Generation.Tokens(model, null, Prompt, options));
    }

    [Theory]
    [InlineData("STOP", "so far|, S|T|OP and on", "so far, ")]
    [InlineData("STOP", "so far, ST|ART|S", "so far, STARTS")]
    [InlineData("aab", "aa|ab|x", "a")]
    [InlineData("c", "ab|abc", "abab")]
    [InlineData("", "ab|abc", "ababc")]
    public void Text_is_passed_on_up_to_a_stop_text(string stop, string pieces, string expected)
    {
        var stops = new StopTexts(stop.Length > 0 ? ["never", stop] : []);
        Assert.Equal(expected, string.Concat(pieces.Split('|').Select(stops.Add)) + stops.Rest());
    }

    /// <summary>The plainest computation: each step runs the whole sequence.</summary>
    private static List<int> Uncached(CausalLanguageModel model, ILayerAdapters? adapters, int[] prompt, int count)
    {
        var ids = prompt.ToList();
        while (ids.Count < prompt.Length + count)
        {
            using var scope = NewDisposeScope();
            using var inference = no_grad();
            var last = model.Hidden(TinyLlama.Ids([.. ids.Select(static id => (long)id)]), null, adapters).narrow(1, ids.Count - 1, 1);
            ids.Add((int)model.LogitsOf(last, adapters).argmax(-1).item<long>());
        }

        return ids[prompt.Length..];
    }

    private static IReadOnlyList<int> Sampled(CausalLanguageModel model, SamplingOptions options) =>
        [.. Generation.Tokens(model, null, Prompt, options)];

    private static AdapterPass Adapted(CausalLanguageModel model)
    {
        var layout = AdapterLayout.For(TinyFederation.TinyCatalogue("lora"), model.Linears);
        using var generator = new Generator(5, CPU);
        var tensors = new AdapterState(layout.Tensors.Select(tensor =>
        {
            using var drawn = randn([.. tensor.Shape], ScalarType.Float32, CPU, generator: generator);
            return KeyValuePair.Create(tensor.Name,
                new NamedArray(tensor.Shape, [.. drawn.data<float>().Select(static value => 0.1f * value)]));
        }));
        return AdapterPass.Evaluating(PlacedAdapter.Create(new(layout, tensors, null), CPU), model);
    }
}
