using System.Collections.Concurrent;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Training.Adapters.Algebra;
using FedRLora.Training.Inputs;
using FedRLora.Training.Models;
using static TorchSharp.torch;

namespace FedRLora.Training.Adapters.Peft;

/// <summary>The layout of a plan's adapter on a model, with the tensors of the folder that <see cref="AdapterSpec.From"/> names.</summary>
/// <param name="root">What a plan's relative paths start from.</param>
/// <param name="note">Gets what is to be known of an adapter, a line each, once for each state of its folder.</param>
internal sealed class AdapterSource(string root, NoteSink? note = null)
{
    private readonly Lock _reading = new();
    private readonly ConcurrentDictionary<string, (string Version, PeftAdapter Adapter)> _read = new(StringComparer.Ordinal);

    /// <summary>The layout on a model's layers.</summary>
    /// <param name="plan">The plan.</param>
    /// <param name="layers">All that can be adapted.</param>
    /// <param name="model">The frozen model, asked for only where a decomposed weight begins.</param>
    /// <exception cref="BadInputException">The adapter does not fit the model, or the given folder is not usable.</exception>
    public AdapterLayout LayoutOf(FederationPlan plan, IReadOnlyList<LinearShape> layers, Func<CausalLanguageModel> model) =>
        Given(plan) is { } given
            ? given.On(layers, plan.Adapter, new AdapterStart(given.Tensors, model))
            : AdapterLayout.For(plan.Adapter, layers, new AdapterStart(null, model, Related(plan.Adapter, layers)));

    // What the adapters that subspaceFrom names change of a layer.
    private Func<LinearShape, IReadOnlyList<Tensor>>? Related(AdapterSpec spec, IReadOnlyList<LinearShape> layers)
    {
        if (spec.SubspaceFrom.Count == 0) return null;
        var read = new Lazy<IReadOnlyList<(string Folder, PeftAdapter Adapter, AdapterLayout Layout)>>(() =>
        [
            .. spec.SubspaceFrom.Select(folder =>
            {
                var adapter = PeftAdapter.Read(Path.GetFullPath(folder, Path.GetFullPath(root)));
                return (folder, adapter, adapter.On(layers));
            }),
        ]);
        return layer => [.. read.Value.Select(related =>
        {
            var (folder, adapter, layout) = related;
            if (layout.Spec.Decomposed)
                throw new BadInputException($"subspaceFrom: {folder} has magnitudes (DoRA), so its change is no low rank; leave it out");
            var target = layout.Targets.FirstOrDefault(target => target.Module == layer.Module)
                ?? throw new BadInputException($"subspaceFrom: {folder} has nothing for {layer.Module}, which the plan adapts");
            var tensors = new LayerTensors(
                role => TensorData.OnDevice(adapter.Tensors[AdapterTensor.NameOf(target.Module, role)], CPU).to(ScalarType.Float64)
                    .unsqueeze(0),
                static _ => null);
            return Bottleneck.Delta(layout.MethodOf(target), tensors, target.Scaling)[0];
        })];
    }

    /// <summary>The adapter that the plan starts from; null where it starts from a seed.</summary>
    /// <exception cref="BadInputException">The folder is not usable.</exception>
    public PeftAdapter? Given(FederationPlan plan)
    {
        if (plan.Adapter.From is not { } from) return null;
        var folder = Path.GetFullPath(from, Path.GetFullPath(root));
        var files = new[] { PeftConfig.FileName, PeftAdapter.TensorFile }.Select(name => new FileInfo(Path.Combine(folder, name)))
            .Where(static file => file.Exists);
        var version = string.Join(' ',
            files.Select(static file => FileStamp.Of(file.FullName)?.ToString() ?? $"{file.Length}/{file.LastWriteTimeUtc.Ticks}"));
        if (_read.TryGetValue(folder, out var known) && known.Version == version) return known.Adapter;
        lock (_reading)
        {
            if (_read.TryGetValue(folder, out known) && known.Version == version) return known.Adapter;
            var read = PeftAdapter.Read(folder);
            _read[folder] = (version, read);
            foreach (var line in read.Notes) note?.Invoke(line);
            return read;
        }
    }
}
