using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Adapters;
using static TorchSharp.torch;

namespace FedRLora.Training;

/// <summary>
/// AdamW with decoupled decay and bias correction, as <c>torch.optim.AdamW</c> computes it (arXiv 1711.05101). Gradients and moments
/// of tensors that have taken the same number of steps lie in one flat buffer, so that a step costs a few operations however many
/// layers there are. Its buffers live in the dispose scope in which it is made.
/// </summary>
internal sealed class AdamW
{
    private readonly TrainingSpec _spec;
    private readonly List<Block> _blocks;

    /// <param name="adapter">The optimizer gives each tensor that trains a gradient to accumulate into.</param>
    /// <param name="spec">Betas, epsilon, decay and clip norm.</param>
    /// <param name="state">Moments and step counts to go on from; a tensor that is absent starts afresh.</param>
    /// <exception cref="BadInputException">A moment does not have its tensor's shape, or nothing trains.</exception>
    public AdamW(LowRankAdapter adapter, TrainingSpec spec, AdapterState state)
    {
        _spec = spec;
        _blocks = [.. adapter.Parameters
            .Where(static parameter => parameter.Info.Trains)
            .GroupBy(parameter => (parameter.Info.Scope, Steps: state.TryGetValue(parameter.Info.Name + ".step", out var steps) ? (long)steps.Data[0] : 0))
            .Select(group => new Block([.. group], group.Key.Scope, group.Key.Steps, state))];
        if (_blocks.Count == 0) throw new BadInputException($"adapter: no tensor of {adapter.Spec.Method} trains; set trainsA or trainsB");
    }

    /// <summary>What is left of the exported state at the start of the next round.</summary>
    public static AdapterState AtRoundStart(AdapterState state, AdapterLayout layout, Moments moments)
    {
        if (moments == Moments.Reset) return AdapterState.Empty;
        var kept = layout.Tensors.Where(static tensor => tensor.Scope == Scope.Client).SelectMany(static tensor => NamesOf(tensor.Name)).ToHashSet(StringComparer.Ordinal);
        return new AdapterState(state.Where(entry => kept.Contains(entry.Key)));
    }

    /// <summary>Clears the gradients before a backward pass; they accumulate in place.</summary>
    public void ZeroGradients()
    {
        foreach (var block in _blocks) block.ZeroGradients();
    }

    /// <summary>Clips the joint norm and takes a step; nothing is read back from the device.</summary>
    /// <param name="learningRate">Of this step.</param>
    /// <param name="clientScopeOnly">Leaves tensors of scope Job as they are, and out of the norm.</param>
    public void Step(double learningRate, bool clientScopeOnly = false)
    {
        using var scope = NewDisposeScope();
        using var inference = no_grad();
        var stepping = _blocks.Where(block => !clientScopeOnly || block.Scope == Scope.Client).ToList();
        if (_spec.ClipNorm > 0 && stepping.Count > 0)
        {
            var norm = stack([.. stepping.Select(static block => block.Gradient.square().sum())]).sum().sqrt();
            var factor = (_spec.ClipNorm / (norm + 1e-6)).clamp_max(1.0);
            foreach (var block in stepping) block.Gradient.mul_(factor);
        }

        foreach (var block in stepping) block.Step(_spec, learningRate);
    }

    /// <summary><c>{name}.m</c>, <c>{name}.v</c> and <c>{name}.step</c> (a scalar) of every tensor.</summary>
    public AdapterState Export() => new(_blocks.SelectMany(static block => block.Export()));

    private static IEnumerable<string> NamesOf(string name) => [name + ".m", name + ".v", name + ".step"];

    /// <summary>Tensors with one step count.</summary>
    private sealed class Block
    {
        private readonly IReadOnlyList<AdapterParameter> _parameters;
        private readonly Tensor _mean;
        private readonly Tensor _square;
        private readonly Tensor _change;
        private readonly Tensor[] _changes;
        private readonly Tensor[] _values;
        private long _steps;

        public Block(IReadOnlyList<AdapterParameter> parameters, Scope scope, long steps, AdapterState state)
        {
            (_parameters, Scope, _steps) = (parameters, scope, steps);
            var device = parameters[0].Value.device;
            _values = [.. parameters.Select(static parameter => parameter.Value.detach())];
            (_mean, _square) = (Flat(".m", state, device), Flat(".v", state, device));
            (Gradient, _change) = (zeros_like(_mean), zeros_like(_mean));
            _changes = Views(_change);
            foreach (var (parameter, gradient) in parameters.Zip(Views(Gradient))) parameter.Value.grad = gradient;
        }

        public Scope Scope { get; }

        public Tensor Gradient { get; }

        public void ZeroGradients() => Gradient.zero_();

        public void Step(TrainingSpec spec, double learningRate)
        {
            _steps++;
            _mean.mul_(spec.Beta1).add_(Gradient, alpha: 1 - spec.Beta1);
            _square.mul_(spec.Beta2).addcmul_(Gradient, Gradient, 1 - spec.Beta2);
            var denominator = _square.sqrt().div_(Math.Sqrt(1 - Math.Pow(spec.Beta2, _steps))).add_(spec.Epsilon);
            _change.copy_(_mean).mul_(-learningRate / (1 - Math.Pow(spec.Beta1, _steps))).div_(denominator);
            for (var i = 0; i < _values.Length; i++)
            {
                if (spec.WeightDecay != 0) _values[i].mul_(1 - learningRate * spec.WeightDecay);
                _values[i].add_(_changes[i]);
            }
        }

        public IEnumerable<KeyValuePair<string, NamedArray>> Export()
        {
            var (mean, square) = (LowRankAdapter.Values(_mean), LowRankAdapter.Values(_square));
            var offset = 0;
            foreach (var (info, _) in _parameters)
            {
                var length = (int)NamedArray.Count(info.Shape);
                yield return new(info.Name + ".m", new(info.Shape, mean[offset..(offset + length)]));
                yield return new(info.Name + ".v", new(info.Shape, square[offset..(offset + length)]));
                yield return new(info.Name + ".step", new([], [_steps]));
                offset += length;
            }
        }

        private Tensor Flat(string suffix, AdapterState state, Device device)
        {
            var values = new float[_parameters.Sum(static parameter => NamedArray.Count(parameter.Info.Shape))];
            var offset = 0;
            foreach (var (info, _) in _parameters)
            {
                if (state.TryGetValue(info.Name + suffix, out var array))
                {
                    if (!array.Shape.SequenceEqual(info.Shape))
                        throw new BadInputException($"optimizer state: {info.Name}{suffix} has shape [{string.Join(", ", array.Shape)}], its tensor [{string.Join(", ", info.Shape)}]");
                    array.Data.CopyTo(values, offset);
                }

                offset += (int)NamedArray.Count(info.Shape);
            }

            return tensor(values, ScalarType.Float32, device);
        }

        private Tensor[] Views(Tensor flat)
        {
            long offset = 0;
            return [.. _parameters.Select(parameter =>
            {
                var length = NamedArray.Count(parameter.Info.Shape);
                offset += length;
                return flat.narrow(0, offset - length, length).view([.. parameter.Info.Shape]);
            })];
        }
    }
}
