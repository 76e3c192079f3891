using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Adapters;
using FedRLora.Training.Data;
using FedRLora.Training.Metrics;
using FedRLora.Training.Models;
using FedRLora.Training.Tests.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training.Tests.Metrics;

/// <summary>Texts that share the pass of their prompt, beside each text run whole and alone.</summary>
public sealed class SharedPromptTests
{
    private const int MaxPositions = 128;

    // Lengths of prompts and of the tails of each; around the blocks that kernels work in.
    private static readonly (int Prompt, int[] Tails)[] Lengths =
    [
        (5, [0, 1, 3]), (0, [1, 4, 2]), (1, [0, 6]), (31, [1, 0, 2, 5]), (32, [0]), (33, [30, 1]), (40, [3, 3, 3, 3, 3, 3]),
        (62, [1, 2, 3]), (61, [4, 9]), (90, [5, 1, 37]), (3, [29, 28]), (0, [0, 32]), (2, [60, 0, 1]),
    ];

    public static TheoryData<string> Families => TinyModels.Families;

    /// <summary>Those that see a token for itself: of others no text shares its prompt.</summary>
    public static TheoryData<string> Methods => [.. AdapterCatalog.Methods
        .Where(static entry => !entry.Value.Spec.Routing.SeesSequences).Select(static entry => entry.Key)];

    [Theory, MemberData(nameof(Families))]
    public void Texts_get_the_bits_of_running_each_whole(string family)
    {
        using var model = TinyLlama.Create(Config(family));
        AssertSame(model, null);
    }

    [Theory, MemberData(nameof(Methods))]
    public void So_do_those_of_every_method(string method)
    {
        using var scope = NewDisposeScope();
        using var model = TinyLlama.Create(Config("llama"));
        using var pass = Adapted(model, TinyFederation.TinyCatalogue(method));
        AssertSame(model, pass);
    }

    [Theory, MemberData(nameof(Families))]
    public void So_do_those_of_adapters_on_every_layer_and_of_rank_one(string family)
    {
        using var scope = NewDisposeScope();
        using var model = TinyLlama.Create(Config(family));
        foreach (var (method, rank) in new[] { ("lora", 4), ("lora", 1), ("m-lora", 4), ("dora", 4), ("hydra-lora", 4) })
        {
            // A decomposed weight, or a router, cannot be on an embedding.
            var layers = method is "dora" or "hydra-lora" ? [.. model.Linears, model.LmHead] : model.AdaptableLayers;
            var modules = layers.Select(static layer => AdapterLayout.LastPart(layer.Module)).Distinct().ToArray();
            using var pass = Adapted(model, TinyFederation.TinyCatalogue(method) with { Rank = rank, TargetModules = modules }, layers);
            AssertSame(model, pass);
        }
    }

    [Theory, InlineData(ScalarType.BFloat16), InlineData(ScalarType.Float16)]
    public void So_do_those_of_a_base_in_half_precision(ScalarType stored)
    {
        foreach (var config in TinyModels.Configs.Keys.Select(Config))
        {
            using var model = TinyLlama.Create(config, stored);
            AssertSame(model, null);
        }
    }

    [Theory, MemberData(nameof(Families))]
    public void A_prompt_gets_the_same_bits_alone_and_among_others(string family)
    {
        using var model = TinyLlama.Create(Config(family));
        var prompts = Prompts(slots: out var slots);
        var together = LogLikelihood.Sums(model, null, [.. prompts, .. prompts.Reverse(), .. prompts], slots, default);
        var alone = new double[slots];
        foreach (var prompt in prompts)
        {
            var sums = LogLikelihood.Sums(model, null, [prompt], slots, default);
            for (var slot = 0; slot < slots; slot++) alone[slot] += 3 * sums[slot];
        }

        AssertSame(alone, together);
    }

    [Fact]
    public void A_prompt_goes_through_the_model_once_for_all_its_tails()
    {
        using var scope = NewDisposeScope();
        using var model = TinyLlama.Create(Config("llama"));
        var counted = new CountedTokens();
        var prompt = Prompt(new Random(1), 90, [3, 1, 0, 5, 2, 4], 0, out var slots);

        LogLikelihood.Sums(model, counted, [prompt], slots, default);

        Assert.InRange(counted.Tokens, 90 + 15, 90 + 15 + SharedPrompts.RowBlock - 1);
    }

    [Fact]
    public void Tails_that_fill_more_than_a_batch_are_cut_and_keep_their_bits()
    {
        using var scope = NewDisposeScope();
        using var model = TinyLlama.Create(Config("mistral"));
        var counted = new CountedTokens();
        var prompt = Prompt(new Random(1), 70, [.. Enumerable.Range(0, 256).Select(static tail => 20 + tail % 5)], 0, out var slots);

        var sums = LogLikelihood.Sums(model, counted, [prompt], slots, default);

        Assert.InRange(counted.Most, 2000, 4096);
        AssertSame(Whole(model, null, [prompt], slots), sums);
    }

    [Theory, MemberData(nameof(Families))]
    public void A_text_may_be_as_long_as_the_model_takes_and_no_longer(string family)
    {
        using var model = TinyLlama.Create(Config(family) with { MaxPositions = 40 });
        ScoredPrompt[] fits = [Prompt(new Random(1), 35, [5, 2, 0], 0, out var slots)];
        using var longer = TinyLlama.Create(Config(family) with { MaxPositions = 64 });
        var expected = family == "gpt2" ? Whole(model, null, fits, slots, padded: false) : Whole(longer, null, fits, slots);

        var sums = LogLikelihood.Sums(model, null, fits, slots, default);

        if (family == "gpt2") Assert.All(expected.Zip(sums), static pair => Close.AssertRelative(pair.First, pair.Second, "sum"));
        else AssertSame(expected, sums);
        ScoredPrompt[] exceeds = [Prompt(new Random(1), 35, [6, 1], 0, out _)];
        var refused = Assert.Throws<ArgumentException>(() => LogLikelihood.Sums(model, null, exceeds, 2, default));
        Assert.Contains("41 tokens, the model takes 40", refused.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Nothing_to_score_costs_nothing()
    {
        using var model = TinyLlama.Create(Config("llama"));
        var counted = new CountedTokens();
        Assert.Equal([0.0], LogLikelihood.Sums(model, counted, [new ScoredPrompt([], [new ScoredSequence([], [])])], 1, default));
        Assert.Equal(0, counted.Tokens);
    }

    [SharedTheory, InlineData("trec"), InlineData("sst2"), InlineData("ag_news")]
    public async Task Real_rows_get_the_labels_that_whole_texts_get(string task)
    {
        using var scope = NewDisposeScope();
        using var model = FrozenBase.Load(SharedFolder.Of("models", "stories260k"), CPU);
        var (path, encoder) = (SharedFolder.Of("data", task, "test.jsonl"), model.Encoder(512));
        var test = await ClientData.TestAsync(path, 12, client: null, await TaskRows.OfFileAsync(path, default), encoder, default);

        var answered = LabelScoring.Answer(new ScoredRows(model, null, encoder, test, new EvaluationSpec()), "accuracy", default);

        var (sums, tokens) = (0.0, 0);
        foreach (var (example, own, chosen) in test.Examples.Zip(answered.Own, answered.Chosen))
        {
            var row = encoder.Encode(example, test.Labels.Answers, test.Labels.AnswerOf(example.Completion)!.Value);
            var likelihoods = row.Tails.Zip(row.LossFrom)
                .Select(tail => Likelihood(model.Model, [.. row.Prefix, .. tail.First], row.Prefix.Length + tail.Second)).ToArray();
            Assert.Equal(test.Labels.LabelOf[Array.IndexOf(likelihoods, likelihoods.Max())], chosen);
            sums += likelihoods[row.Own];
            tokens += row.Tails[row.Own].Length - row.LossFrom[row.Own];
        }

        Close.AssertRelative(-sums / tokens, answered.Loss, "loss");
    }

    // Attention heads of a multiple of four: products over six, as in the tiny Llama, round by the place of a row.
    private static ModelConfig Config(string family)
    {
        var config = TinyModels.Configs[family] with { MaxPositions = MaxPositions };
        return config.HeadDim == 6 ? config with { HeadDim = 8 } : config;
    }

    private static void AssertSame(CausalLanguageModel model, ILayerAdapters? adapters)
    {
        var prompts = Prompts(out var slots);
        AssertSame(Whole(model, adapters, prompts, slots), LogLikelihood.Sums(model, adapters, prompts, slots, default));
    }

    private static void AssertSame(double[] expected, double[] actual)
    {
        Assert.All(expected.Zip(actual), static pair => Close.AssertRelative(pair.First, pair.Second, "sum"));
        if (Kernels.RoundByBlocks) Assert.Equal(expected, actual);
    }

    private static ScoredPrompt[] Prompts(out int slots)
    {
        var (random, next) = (new Random(3), 0);
        var prompts = Lengths.Select(lengths => Prompt(random, lengths.Prompt, lengths.Tails, next, out next)).ToArray();
        slots = next;
        return prompts;
    }

    // Each token of a tail is scored, and one behind it.
    private static ScoredPrompt Prompt(Random random, int length, int[] tails, int firstSlot, out int nextSlot)
    {
        int[] Draw(int count) => [.. Enumerable.Range(0, count).Select(_ => random.Next(32))];
        var prompt = Draw(length);
        nextSlot = firstSlot + tails.Length;
        return new(prompt, [.. tails.Select((tail, i) =>
        {
            var ids = Draw(tail + 1);
            var places = Enumerable.Range(0, tail + 1).Where(place => length + place > 0);
            return new ScoredSequence(ids[..^1], [.. places.Select(place => (length + place - 1, ids[place], firstSlot + i))]);
        })]);
    }

    // One sequence for each tail, of the length that the keys of its prompt are padded to.
    private static double[] Whole(
        CausalLanguageModel model, ILayerAdapters? adapters, ScoredPrompt[] prompts, int slots, bool padded = true)
    {
        using var inference = no_grad();
        var sums = new double[slots];
        foreach (var prompt in prompts)
        {
            foreach (var tail in prompt.Tails.Where(static tail => tail.Tokens.Count > 0))
            {
                using var scope = NewDisposeScope();
                long[] text = [.. prompt.Prompt, .. tail.Ids];
                var length = padded ? SharedPrompts.KeyLengthOf(prompt.Longest) : text.Length;
                var ids = TinyLlama.Ids([.. text, .. new long[length - text.Length]]);
                var likelihoods = model.LogitsOf(model.Hidden(ids, null, adapters)[0], adapters).log_softmax(-1);
                foreach (var (place, token, slot) in tail.Tokens) sums[slot] += likelihoods[place, token].item<float>();
            }
        }

        return sums;
    }

    private static double Likelihood(CausalLanguageModel model, int[] text, int from)
    {
        using var scope = NewDisposeScope();
        using var inference = no_grad();
        var likelihoods = model.LogitsOf(model.Hidden(TinyLlama.Ids([.. text]), null, null)[0], null).log_softmax(-1);
        return Enumerable.Range(from, text.Length - from).Sum(place => (double)likelihoods[place - 1, text[place]].item<float>());
    }

    private static AdapterPass Adapted(CausalLanguageModel model, AdapterSpec spec, IReadOnlyList<LinearShape>? layers = null)
    {
        var layout = AdapterLayout.For(spec, layers ?? model.Linears);
        using var generator = new Generator(5, CPU);
        AdapterState Draw(IEnumerable<AdapterTensor> tensors) => new(tensors.Select(tensor =>
        {
            using var drawn = randn([.. tensor.Shape], ScalarType.Float32, CPU, generator: generator);
            float[] values = [.. drawn.data<float>().Select(static value => 0.2f * value)];
            return KeyValuePair.Create(tensor.Name, new NamedArray(tensor.Shape, [.. values]));
        }));
        var start = spec.Start == Start.Anchored ? Draw(layout.Tensors.Where(layout.HasStart)) : null;
        return AdapterPass.Evaluating(PlacedAdapter.Create(new(layout, Draw(layout.Tensors), start), CPU), model);
    }

    /// <summary>Changes nothing and counts the tokens that are embedded.</summary>
    private sealed class CountedTokens : ILayerAdapters
    {
        public long Tokens { get; private set; }

        public long Most { get; private set; }

        public Tensor Adapt(string module, Tensor x, Tensor y) => y;

        public Tensor AdaptEmbedding(string module, Tensor ids, Tensor y)
        {
            (Tokens, Most) = (Tokens + ids.numel(), Math.Max(Most, ids.numel()));
            return y;
        }
    }

    /// <summary>What equal bits rest on: a row of a product or of attention is rounded alike among 16 rows and among more.</summary>
    private static class Kernels
    {
        public static bool RoundByBlocks { get; } = Probe();

        private static bool Probe()
        {
            using var scope = NewDisposeScope();
            using var generator = new Generator(1, CPU);
            Tensor Drawn(params long[] shape) => randn(shape, ScalarType.Float32, CPU, generator: generator);
            var (x, weight) = (Drawn(112, 24), Drawn(16, 24));
            var (q, k, v) = (Drawn(1, 2, 64, 8), Drawn(1, 2, 64, 8), Drawn(1, 2, 64, 8));
            var mask = Living.Range(0, 64, CPU).le(Living.Range(48, 64, CPU).unsqueeze(1));
            return Equal(nn.functional.linear(x, weight).narrow(0, 0, 16), nn.functional.linear(x.narrow(0, 0, 16), weight))
                && Equal(Blocks.Attention(q, k, v, null).narrow(1, 48, 16), Blocks.Attention(q.narrow(2, 48, 16), k, v, mask));
        }

        private static bool Equal(Tensor a, Tensor b) => a.eq(b).all().item<bool>();
    }
}
