using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Adapters;
using FedRLora.Training.Models;
using FedRLora.Training.Models.Weights;
using FedRLora.Training.Steps;
using FedRLora.Training.Tests.Adapters;
using static TorchSharp.torch;

namespace FedRLora.Training.Tests.Golden;

/// <summary>
/// LoRI's layers under a calibrated mask, in the network that stands around them in its reference numbers:
/// x = x + o(tanh(q(x) k(x)) + v(x)); x = x + down(tanh(gate(x)) up(x)). The reference's clipping and warm-up are not ours: each
/// gradient is clipped here, and each step has the reference's rate, so that masked gradients and AdamW alone are compared.
/// </summary>
public sealed class LoriNetworkTests
{
    public static TheoryData<string> Folders => AdapterLifecycleTests.Folders;

    [SharedTheory, MemberData(nameof(Folders))]
    public void Output_gradients_and_masked_steps_match_the_reference(string folder)
    {
        using var scope = NewDisposeScope();
        using var numbers = new MethodNumbers(folder);
        using (var before = new Network(numbers, isMasked: false))
            numbers.CompareOutput("output_before", TensorData.Values(before.Run()[0]));
        using var network = new Network(numbers, isMasked: true);
        double Config(string name) => numbers.Config.GetProperty(name).GetDouble();
        for (var step = 0; step < numbers.Recorded[^1]; step++)
        {
            var output = network.Run();
            foreach (var member in (int[])[0, 2])
            {
                var loss = (output[member] * Network.Rows(numbers, "output_cotangent")).sum().item<float>();
                numbers.CompareLoss(step + 1, loss);
                if (step == 0) numbers.CompareOutput("output_at_zero_B", TensorData.Values(output[member]));
                if (step == 0) network.CompareGradients(member);
            }

            network.Step(Config("lr") * Math.Min(1, (step + 1) / (Config("warmup_steps") + 1)), Config("max_grad_norm"));
            if (numbers.Recorded.Contains(step + 1)) network.CompareStepped(step + 1);
        }

        var after = network.Run();
        foreach (var member in (int[])[0, 2])
            numbers.CompareOutput($"output_after_step_{numbers.Recorded[^1]}", TensorData.Values(after[member]));
    }

    private sealed class Network : IDisposable
    {
        private readonly MethodNumbers _numbers;
        private readonly SortedDictionary<string, Projection> _projections = new(StringComparer.Ordinal);
        private readonly int _blocks;

        public Network(MethodNumbers numbers, bool isMasked)
        {
            _numbers = numbers;
            var words = numbers.Config.GetProperty("train_mask").GetString()!.Split('-', ' ');
            var (span, sparsity) = (Enum.Parse<MaskSpan>(words[0], ignoreCase: true), double.Parse(words[^1]));
            var spec = LoriNumbers.Spec(numbers, span, sparsity).At(isMasked ? 2 : 1, 3);
            var layers = LoriNumbers.Layers(numbers);
            var heads = AdapterLifecycle.Advance(
                AdapterLayout.For(spec, layers), LoriNumbers.Heads(numbers), Scope.Client, seed: 1, TinyFederation.Client("one")).State;
            foreach (var layer in layers)
            {
                var own = spec with { TargetModules = [layer.Module] };
                _projections.Add(layer.Module, new(numbers, AdapterLayout.For(own, [layer]), heads));
            }

            _blocks = numbers.Config.GetProperty("layers").GetInt32();
        }

        public static Tensor Rows(MethodNumbers numbers, string name)
        {
            var all = numbers.Tensor(name);
            return all.reshape(-1, all.shape[^1]);
        }

        // Two members have all rows, one has the first half of them.
        public Tensor[] Run()
        {
            var tapes = new List<Action<Tensor[]>>();
            Tensor[] Ragged(string name)
            {
                var all = Rows(_numbers, name);
                return [all, all.narrow(0, 0, (all.shape[0] + 1) / 2), all];
            }

            var x = Ragged("input");
            Tensor[] cotangent = Ragged("output_cotangent");
            for (var block = 0; block < _blocks; block++) x = Block(block, x, tapes);
            foreach (var projection in _projections.Values) projection.Frame.Stack.ZeroGradients();
            foreach (var back in tapes.AsEnumerable().Reverse()) back(cotangent);
            return x;
        }

        public void Step(double rate, double maxNorm)
        {
            foreach (var projection in _projections.Values) projection.Step(rate, maxNorm);
        }

        public void CompareGradients(int member)
        {
            foreach (var projection in _projections.Values) projection.CompareGradient(member);
        }

        public void CompareStepped(int step)
        {
            foreach (var projection in _projections.Values) projection.CompareStepped(step);
        }

        public void Dispose()
        {
            foreach (var projection in _projections.Values) projection.Frame.Dispose();
        }

        private Tensor[] Block(int block, Tensor[] x, List<Action<Tensor[]>> tapes)
        {
            Projection Of(string name) =>
                _projections.Single(entry => entry.Key.EndsWith($".{block}.{name}", StringComparison.Ordinal)).Value;
            var (q, k, v, o) = (Of("self_attn.q_proj"), Of("self_attn.k_proj"), Of("self_attn.v_proj"), Of("self_attn.o_proj"));
            var (gate, up, down) = (Of("mlp.gate_proj"), Of("mlp.up_proj"), Of("mlp.down_proj"));
            Tensor[] Each(Tensor[] a, Tensor[] b, Func<Tensor, Tensor, Tensor> of) => [.. a.Zip(b, of)];
            Tensor[] Tanh(Tensor[] a) => [.. a.Select(static value => value.tanh())];
            Tensor[] Slope(Tensor[] tanh) => [.. tanh.Select(static value => ones_like(value) - value * value)];
            Tensor[] Sum(Tensor[] a, Tensor[] b) => Each(a, b, static (one, other) => one.Plus(other));
            Tensor[] Times(Tensor[] a, Tensor[] b) => Each(a, b, static (one, other) => one * other);

            var (ofQ, ofK, ofV) = (q.Forward(x), k.Forward(x), v.Forward(x));
            var turned = Tanh(Times(ofQ, ofK));
            var mixed = Sum(turned, ofV);
            var middle = Sum(x, o.Forward(mixed));
            var (ofGate, ofUp) = (Tanh(gate.Forward(middle)), up.Forward(middle));
            var product = Times(ofGate, ofUp);
            tapes.Add(dy =>
            {
                var dProduct = down.Backward(product, dy);
                var dGate = Times(Times(dProduct, ofUp), Slope(ofGate));
                var dMiddle = Sum(dy, Sum(gate.Backward(middle, dGate), up.Backward(middle, Times(dProduct, ofGate))));
                var dMixed = o.Backward(mixed, dMiddle);
                var dTurned = Times(dMixed, Slope(turned));
                var dx = Sum(q.Backward(x, Times(dTurned, ofK)), Sum(k.Backward(x, Times(dTurned, ofQ)), v.Backward(x, dMixed)));
                dx = Sum(dx, dMiddle);
                for (var member = 0; member < dy.Length; member++) dy[member] = dx[member];
            });
            return Sum(middle, down.Forward(product));
        }
    }

    private sealed class Projection
    {
        private readonly MethodNumbers _numbers;
        private readonly AdapterTensor _heads;
        private readonly Tensor _mask;
        private readonly AdamW _optimizer;
        private readonly string _saved;

        public Projection(MethodNumbers numbers, AdapterLayout layout, AdapterState heads)
        {
            var layer = layout.Targets[0].Layer;
            (_numbers, _saved) = (numbers, LoriNumbers.Saved(layer));
            _heads = layout.Tensors.Single(static tensor => tensor.Role.Name == Roles.B);
            var values = new AdapterState(layout.Tensors.Select(info => KeyValuePair.Create(
                info.Name, info.Role.Name == Roles.A ? numbers.Array($"param.{_saved}.lora_A.default.weight") : heads[info.Name])));
            _mask = heads.TryGetValue($"{layer.Module}.{HeadMask.Role}", out var mask)
                ? TensorData.OnDevice(mask, CPU) : ones([.. _heads.Shape]);
            Frame = new FramedLayer(
                [.. Enumerable.Repeat(new ClientAdapter(layout, values, null), 3)],
                new FrozenLinear(layer, numbers.Tensor($"param.{_saved}.base.weight"), bias: null));
            _optimizer = new AdamW(
                Frame.Stack, new TrainingSpec { WeightDecay = numbers.Config.GetProperty("weight_decay").GetDouble(), ClipNorm = 0 },
                [AdapterState.Empty, AdapterState.Empty, AdapterState.Empty]);
        }

        public FramedLayer Frame { get; }

        public Tensor[] Forward(Tensor[] x) =>
            [.. Frame.Run(x, [.. x.Select(rows => zeros(rows.shape[0], _heads.Shape[1]))]).Select(static member => member.Output)];

        public Tensor[] Backward(Tensor[] x, Tensor[] cotangent) =>
            [.. Frame.Run(x, cotangent).Select(static member => member.InputGradient)];

        public void CompareGradient(int member)
        {
            var name = $"grad_unmasked.{_saved}.lora_B.default.weight";
            var reference = _numbers.Tensor(name);
            Close.Assert(
                TensorData.Values(reference * _mask[0]), TensorData.Values(Frame.Stack.GradientOf(member, _heads.Name)!), name,
                1e-6 + 1e-5 * TensorData.Values(reference).Max(Math.Abs), 0);
        }

        public void Step(double rate, double maxNorm)
        {
            using var inference = no_grad();
            for (var member = 0; member < 3; member++)
            {
                var gradient = Frame.Stack.GradientOf(member, _heads.Name)!;
                gradient.mul_(Living.Of(Math.Min(1, maxNorm / (gradient.norm().item<float>() + 1e-6))));
            }

            _optimizer.Step([rate, rate, rate]);
        }

        public void CompareStepped(int step)
        {
            foreach (var member in (int[])[0, 2])
            {
                _numbers.CompareStepped(
                    $"after_step_{step}.{_saved}.lora_B.default.weight",
                    Frame.Stack.Member(member).Parameters.Single(parameter => parameter.Info == _heads).Value);
            }
        }
    }
}
