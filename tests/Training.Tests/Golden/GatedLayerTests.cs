using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Adapters;
using FedRLora.Training.Adapters.Algebra;
using FedRLora.Training.Adapters.Algebra.Gates;
using FedRLora.Training.Models;
using FedRLora.Training.Models.Weights;
using FedRLora.Training.Steps;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training.Tests.Golden;

/// <summary>
/// One layer of methods that choose: MeteoRA's adapters, SMoRA's ranks, pools of rank-1 factors. Outputs in training and evaluation,
/// gradients, AdamW steps, what was chosen, and what moves by counts.
/// </summary>
public sealed class GatedLayerTests
{
    private const string Module = "layer";

    public static TheoryData<string> All => Fixtures.Of("method/meteora/layer", "method/smora/srmole", "method/mixlora/cmoa_lora");

    public static TheoryData<string> Adapters => Fixtures.Of("method/meteora/layer");

    // Sequences of one token have no next one to be told.
    public static TheoryData<string> Losses => [.. Adapters.Cast<object[]>().Select(static row => (string)row[0]).Where(static folder =>
    {
        using var numbers = new MethodNumbers(folder);
        return numbers.Has("gate_loss.value");
    })];

    public static TheoryData<string> Ranks => Fixtures.Of("method/smora/srmole");

    public static TheoryData<string> Pools => Fixtures.Of("method/mixlora/cmoa_lora");

    [SharedTheory, MemberData(nameof(All))]
    public void Output_gradients_and_steps_match_the_reference(string folder)
    {
        using var scope = NewDisposeScope();
        using var numbers = new MethodNumbers(folder);
        var published = Published.Of(numbers);
        var frozen = new FrozenLinear(published.Shape, published.Weight, published.Bias);
        var layout = published.Layout();
        var start = new ClientAdapter(layout, published.Start(layout), null);
        using var frame = new FramedLayer([start, start, start], frozen);
        var optimizer = new AdamW(
            frame.Stack, new TrainingSpec { WeightDecay = numbers.WeightDecay, ClipNorm = 0 },
            [AdapterState.Empty, AdapterState.Empty, AdapterState.Empty]);
        var (batch, length) = ((int)numbers.Array("input").Shape[0], (int)numbers.Array("input").Shape[1]);
        // Two members have all sequences, one has the first half of them.
        List<Tensor> Ragged(string name)
        {
            var all = numbers.Tensor(name);
            all = all.reshape(-1, all.shape[^1]);
            return [all, all.narrow(0, 0, Math.Max(1, batch / 2) * length), all];
        }

        IReadOnlyList<(Tensor Output, Tensor InputGradient)> Run() =>
            frame.Run(Ragged("input"), Ragged("output_cotangent"), length: length);
        if (numbers.Has("output_eval"))
        {
            using var inference = no_grad();
            using var pass = AdapterPass.Evaluating(frame.Stack.Member(0), null);
            var alone = nn.functional.linear(numbers.Tensor("input"), published.Weight, published.Bias);
            numbers.CompareOutput("output_eval", TensorData.Values(pass.Adapt(Module, numbers.Tensor("input"), alone)));
        }

        for (var step = 1; step <= numbers.Recorded[^1]; step++)
        {
            frame.Stack.ZeroGradients();
            var trained = Run();
            foreach (var member in (int[])[0, 2])
            {
                var (output, inputGradient) = trained[member];
                numbers.CompareLoss(step, (output * Ragged("output_cotangent")[member]).sum().item<float>());
                if (step > 1) continue;
                numbers.CompareOutput("output", TensorData.Values(output));
                numbers.CompareGradient("input_grad", inputGradient);
                foreach (var info in layout.Tensors.Where(static info => info.Trains))
                {
                    foreach (var (name, value) in published.Parts(info.Role.Name, frame.Stack.GradientOf(member, info.Name)!))
                        numbers.CompareGradient("grad." + name, value);
                }
            }

            optimizer.Step([numbers.Rate, numbers.Rate, numbers.Rate]);
            if (step == 1) AssertCounted(numbers, frame.Stack);
            if (!numbers.Recorded.Contains(step)) continue;
            var after = Run();
            foreach (var member in (int[])[0, 2])
            {
                var parts = frame.Stack.Member(member).Parameters.Where(static parameter => !parameter.Info.Role.IsCounted)
                    .SelectMany(parameter => published.Parts(parameter.Info.Role.Name, parameter.Value));
                foreach (var (name, value) in parts.Where(part => numbers.Has($"after_step_{step}.{part.Name}")))
                    numbers.CompareStepped($"after_step_{step}.{name}", value);
                numbers.CompareOutput($"output_after_step_{step}", TensorData.Values(after[member].Output));
            }
        }
    }

    [SharedTheory, MemberData(nameof(Adapters))]
    public void A_token_s_adapters_and_their_weights_are_the_reference_s(string folder)
    {
        using var scope = NewDisposeScope();
        using var numbers = new MethodNumbers(folder);
        var logits = numbers.Tensor("moe_logits").reshape(1, -1, numbers.Array("moe_logits").Shape[^1]);
        var (count, rows) = ((int)logits.shape[2], (int)logits.shape[1]);
        var (k, temperature) = (numbers.Config.GetProperty("top_k").GetInt32(), numbers.Config.GetProperty("temperature").GetDouble());

        var weights = new TopKGate(count, k, temperature, lossWeight: 0).Weights(
            new(static _ => throw new NotSupportedException(), static _ => null),
            new([KeyValuePair.Create(Routing.TopK.Gate, logits.unsqueeze(2))]), new(1, MemberRows.Whole(1, rows)));

        Assert.Equal(numbers.Integers("selected"), Choice.Largest(logits, k).data<long>().ToArray());
        var expected = Choice.Scattered(
            tensor(numbers.Integers("selected"), [1, rows, k]), numbers.Tensor("weights").reshape(1, rows, k), count);
        Close.Assert(TensorData.Values(expected), TensorData.Values(weights), "weights", 1e-6, 0);
        Assert.Equal(rows * k, TensorData.Values(weights).Count(static weight => weight != 0));
    }

    [SharedTheory, MemberData(nameof(Losses))]
    public void The_gate_loss_and_its_gradients_are_the_reference_s(string folder)
    {
        using var scope = NewDisposeScope();
        using var numbers = new MethodNumbers(folder);
        var labels = numbers.Integers("gate_labels");
        Tensor[] modules = [.. Enumerable.Range(0, numbers.Names.Count()).Select(static number => $"gate_loss.logits.{number}")
            .TakeWhile(numbers.Has).Select(name => numbers.Tensor(name).requires_grad_())];
        var (batch, length) = (modules[0].shape[0], modules[0].shape[1]);
        // The reference gives every token a label of its own; here a member has one. So each token is a member, followed by the next.
        var rows = new MemberRows(
            2, [.. labels.Select(static _ => 2)], [.. labels.Select(static _ => (IReadOnlyList<(int, int)>)[(0, 2)])]);
        var losses = modules.Select(logits => TopKGate.Loss(
            stack([logits.narrow(1, 0, length - 1), logits.narrow(1, 1, length - 1)], 2).flatten(0, 1),
            [.. labels.Select(static label => (int)label)], rows));

        var loss = stack([.. losses]).mean();
        loss.backward();

        numbers.CompareOutput("gate_loss.value", [loss.item<float>()]);
        foreach (var (number, logits) in modules.Index()) numbers.CompareGradient($"gate_loss.grad.{number}", logits.grad!);
    }

    [SharedTheory, MemberData(nameof(Pools))]
    public void A_pool_chooses_for_each_sequence_as_the_paper_says(string folder)
    {
        using var scope = NewDisposeScope();
        using var numbers = new MethodNumbers(folder);
        var published = new Pool(numbers);
        var gate = new RecordingGate((Routing.Pool)published.Spec.Routing);
        var layout = published.Layout(gate);
        using var pass = AdapterPass.Evaluating(
            PlacedAdapter.Create(new(layout, published.Start(layout), null), CPU), null);
        using var inference = no_grad();

        pass.Adapt(Module, numbers.Tensor("input"), nn.functional.linear(numbers.Tensor("input"), published.Weight, published.Bias));

        Assert.Equal(numbers.Integers("selected_A"), gate.Chosen.A.data<long>().ToArray());
        // The released code takes another product where the choice is conditional: there the paper's is worked out beside it.
        var expected = published.IsConditional ? published.PaperChoiceOfB() : numbers.Integers("selected_B");
        Assert.Equal(expected, gate.Chosen.B.data<long>().ToArray());
    }

    // A balance moves once a step, whatever ran between; all members of the reference see the same rows but one.
    private static void AssertCounted(MethodNumbers numbers, AdapterStack stack)
    {
        foreach (var info in stack.Layout.Tensors.Where(static info => info.Role.IsCounted))
        {
            foreach (var member in (int[])[0, 2])
            {
                var value = stack.Member(member).Parameters.Single(parameter => parameter.Info == info).Value;
                Close.Assert(numbers.Array("state_lora_biases").Data, TensorData.Values(value), info.Name, 1e-8, 0);
            }
        }
    }

    private sealed class RecordingGate(Routing.Pool pool) : PoolGate(pool)
    {
        public (Tensor A, Tensor B) Chosen { get; private set; }

        protected override (Tensor A, Tensor B) Choose(LayerTensors tensors, Narrow z, MixContext context)
        {
            var (a, b) = base.Choose(tensors, z, context);
            Chosen = (a.contiguous(), b.contiguous());
            return (a, b);
        }
    }

    /// <summary>Chooses what is given, by sequence, for every member.</summary>
    private sealed class GivenGate(Routing.Pool pool, Tensor a, Tensor b) : PoolGate(pool)
    {
        protected override (Tensor A, Tensor B) Choose(LayerTensors tensors, Narrow z, MixContext context)
        {
            Tensor Everyone(Tensor chosen) => chosen.unsqueeze(0).expand(context.Rows.Real.Count, -1, -1);
            return (Everyone(a), Everyone(b));
        }
    }

    /// <summary>A published layer as a method of ours.</summary>
    private abstract class Published(MethodNumbers numbers)
    {
        public static Published Of(MethodNumbers numbers) =>
            numbers.Config.TryGetProperty("pool", out _) ? new Pool(numbers)
            : numbers.Config.TryGetProperty("activate_r", out _) ? new Smora(numbers) : new Meteora(numbers);

        public abstract AdapterSpec Spec { get; }

        protected MethodNumbers Numbers => numbers;

        public LinearShape Shape => new(Module, Number("in"), Number("out"));

        public virtual Tensor Weight => numbers.Tensor("param.base_layer.weight");

        public virtual Tensor? Bias => numbers.Optional("param.base_layer.bias");

        public virtual AdapterLayout Layout() => AdapterLayout.For(Spec, [Shape]);

        public AdapterState Start(AdapterLayout layout) => new(layout.Tensors.Select(info =>
            KeyValuePair.Create(info.Name, new NamedArray(info.Shape, TensorData.Values(Own(info.Role.Name).reshape([.. info.Shape]))))));

        /// <summary>A tensor of ours as the reference's, by the reference's names.</summary>
        public abstract IEnumerable<(string Name, Tensor Value)> Parts(string role, Tensor value);

        protected abstract Tensor Own(string role);

        protected int Number(string key) => numbers.Config.GetProperty(key).GetInt32();

        protected Tensor Param(string name) => numbers.Tensor("param." + name);
    }

    private sealed class Meteora(MethodNumbers numbers) : Published(numbers)
    {
        private static readonly Dictionary<string, string> Names = new()
        {
            [Roles.A] = "lora_A.weight", [Roles.B] = "lora_B.weight", [Routing.TopK.Gate] = "moe_gate.weight",
        };

        // s is 1, so that each adapter's own scale is all of it.
        public override AdapterSpec Spec => (AdapterCatalog.Methods["meteora"].Spec with
        {
            Heads = Number("adapters"), Rank = Number("r"), Alpha = Number("r"), Objectives = [], Dropout = Dropout.None,
            Routing = new Routing.TopK(Number("top_k"), Numbers.Config.GetProperty("temperature").GetDouble()),
        }).With(HeadScale.Role, static scale => scale with { Scope = Scope.Client });

        public override IEnumerable<(string Name, Tensor Value)> Parts(string role, Tensor value)
        {
            if (role == HeadScale.Role) yield break;
            yield return (Names[role], role == Roles.B ? value.transpose(0, 1).flatten(1, 2) : value);
        }

        protected override Tensor Own(string role) => role switch
        {
            HeadScale.Role => tensor(
                Numbers.Config.GetProperty("scaling").EnumerateArray().Select(static scale => scale.GetSingle()).ToArray()),
            Roles.B => Param(Names[role]).view(Number("out"), Number("adapters"), Number("r")).transpose(0, 1),
            _ => Param(Names[role]),
        };
    }

    private sealed class Smora(MethodNumbers numbers) : Published(numbers)
    {
        private static readonly Dictionary<string, string> Names = new()
        {
            [Roles.A] = "lora_A.default.weight", [Roles.B] = "lora_B.default.weight",
            [Routing.RankTopK.Router] = "lora_router.default.weight", [Routing.RankTopK.Balance] = "lora_biases.default",
        };

        public override AdapterSpec Spec => AdapterCatalog.Methods["smora"].Spec with
        {
            Rank = Number("r"), Alpha = Numbers.Config.GetProperty("lora_alpha").GetDouble(), Dropout = Dropout.None,
            Routing = new Routing.RankTopK(
                Number("activate_r"), Number("rank_partition"), Numbers.Config.GetProperty("bias_update_rate").GetDouble()),
        };

        public override IEnumerable<(string Name, Tensor Value)> Parts(string role, Tensor value) => [(Names[role], value)];

        protected override Tensor Own(string role) => Param(Names[role]);
    }

    /// <summary>The layer given the published choice of both sides, whose routers have no gradient.</summary>
    private sealed class Pool(MethodNumbers numbers) : Published(numbers)
    {
        private const string Extra = "cmoa_loarB_extra_selector.";

        public bool IsConditional => Numbers.Config.GetProperty("cond_type").GetString() != "input";

        public override AdapterSpec Spec => Hard(AdapterCatalog.Methods["mixlora"].Spec with
        {
            Rank = Number("pool"), Alpha = Numbers.Config.GetProperty("lora_alpha").GetDouble(), Dropout = Dropout.None,
            Routing = new Routing.Pool(
                Number("r"),
                IsConditional ? PoolChoice.Conditional
                    : Numbers.Config.GetProperty("independent_rank").GetBoolean() ? PoolChoice.Independent : PoolChoice.SharedIndex,
                Weighted: false, Numbers.Config.GetProperty("lambda").GetDouble()),
        });

        public override Tensor Weight => Param("weight");

        public override Tensor? Bias => Numbers.Optional("param.bias");

        public override AdapterLayout Layout()
        {
            Tensor Given(string name) => tensor(Numbers.Integers(name)).view(-1, Number("r"));
            return Layout(new GivenGate((Routing.Pool)Spec.Routing, Given("selected_A"), Given("selected_B")));
        }

        public AdapterLayout Layout(IGate gate)
        {
            var spec = Spec;
            return AdapterLayout.Of(
                new LowRank(LowRankForm.Of(spec), gate), spec,
                [.. spec.Roles.Select(role => role with { Default = spec.Tensor(role.Name) })], [Shape]);
        }

        public override IEnumerable<(string Name, Tensor Value)> Parts(string role, Tensor value) => role switch
        {
            Roles.A => Each(e => ($"lora_A.default.{e}", value[e])),
            Roles.B => Each(e => ($"lora_B.default.{e}", value[0].select(1, e))),
            Routing.Pool.RouterA => [("cmoa_selector.loraA_selector.weight", value)],
            Routing.Pool.RouterB => [(RouterB, value)],
            _ => [(Extra + "loraA_param2loraB_selector.weight", value.transpose(0, 1).flatten(1))],
        };

        protected override Tensor Own(string role) => role switch
        {
            Roles.A => cat([.. Each(e => Param($"lora_A.default.{e}"))], 0),
            Roles.B => cat([.. Each(e => Param($"lora_B.default.{e}"))], 0).t(),
            Routing.Pool.RouterA => Param("cmoa_selector.loraA_selector.weight"),
            Routing.Pool.RouterB => Param(RouterB),
            _ => Param(Extra + "loraA_param2loraB_selector.weight").view(Number("pool"), Number("r"), Number("in")).transpose(0, 1),
        };

        /// <summary>The largest of softmax(R_B h) + lambda softmax(sum_i softmax(Q_i a_i)) for each sequence, number by number.</summary>
        public long[] PaperChoiceOfB()
        {
            double[][] Rows(Tensor of)
            {
                var width = (int)of.shape[^1];
                return [.. TensorData.Values(of).Select(static value => (double)value).Chunk(width)];
            }

            static double[] Softmax(double[] of) => [.. of.Select(value => Math.Exp(value) / of.Sum(Math.Exp))];
            static double Product(double[] a, double[] b) => a.Zip(b, static (x, y) => x * y).Sum();
            var (input, k, width) = (Rows(Numbers.Tensor("input")), Number("r"), Number("in"));
            var (chosen, length) = (Numbers.Integers("selected_A"), (int)Numbers.Array("input").Shape[1]);
            var (a, routerB, q) = (Rows(Own(Roles.A)), Rows(Param(RouterB)), Rows(Param(Extra + "loraA_param2loraB_selector.weight")));
            var lambda = Numbers.Config.GetProperty("lambda").GetDouble();
            return [.. input.Chunk(length).SelectMany((sequence, number) =>
            {
                double[] mean = [.. Enumerable.Range(0, width).Select(place => sequence.Average(row => row[place]))];
                var said = Enumerable.Range(0, k).Select(slot => Softmax(
                    [.. q.Select(row => Product(row[(slot * width)..((slot + 1) * width)], a[chosen[number * k + slot]]))])).ToList();
                var conditional = Softmax([.. Enumerable.Range(0, a.Length).Select(place => said.Sum(slot => slot[place]))]);
                var scores = Softmax([.. routerB.Select(row => Product(row, mean))])
                    .Zip(conditional, (own, other) => own + lambda * other).ToList();
                return Enumerable.Range(0, a.Length).OrderByDescending(place => scores[place]).Take(k).Select(static place => (long)place);
            })];
        }

        private string RouterB => (IsConditional ? Extra : "cmoa_selector.") + "loraB_selector.weight";

        private IEnumerable<T> Each<T>(Func<int, T> of) => Enumerable.Range(0, Number("pool")).Select(of);

        private static AdapterSpec Hard(AdapterSpec spec) => spec.Routing.Roles.Aggregate(
            spec, static (hard, role) => hard.With(role.Name, static router => router with { Trains = false, Scope = Scope.Client }));
    }
}
