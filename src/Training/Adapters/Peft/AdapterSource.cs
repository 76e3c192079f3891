using System.Collections.Concurrent;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Training.Inputs;
using FedRLora.Training.Models;

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
            : AdapterLayout.For(plan.Adapter, layers, new AdapterStart(null, model));

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
