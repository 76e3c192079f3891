using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;
using FedRLora.Abstractions.Tensors;

namespace FedRLora.Training.Adapters;

/// <summary>
/// A state as it was committed, as a round begins with it: what the plan's lifecycle has done to it meanwhile. What is missing is seen
/// from the state itself, so a client that was away for rounds catches up, and what is up to date stays as it is.
/// </summary>
internal static class AdapterLifecycle
{
    /// <summary>Brings the tensors of one scope up to a layout.</summary>
    /// <param name="layout">As the round has it.</param>
    /// <param name="state">Tensors of the scope, and whatever else lies beside them.</param>
    /// <param name="scope">The scope.</param>
    /// <param name="seed">The plan's.</param>
    /// <param name="client">Whose; null for what is common to all, or to the clients of a task.</param>
    /// <param name="task">The task; the client's where there is one.</param>
    public static AdvancedState Advance(
        AdapterLayout layout, AdapterState state, Scope scope, ulong seed, ClientSpec? client, string? task = null)
    {
        var begun = new HashSet<string>(StringComparer.Ordinal);
        if (layout.Spec is { Links: 0, IsMasked: false }) return new(state, begun);
        var values = state.ToDictionary(StringComparer.Ordinal);
        var tensors = layout.Tensors.ToDictionary(static tensor => tensor.Name, StringComparer.Ordinal);
        NamedArray Draw(AdapterTensor tensor, int link) => layout.DrawAgain(tensor, seed, client, task, link);
        AdapterTensor Beside(AdapterTensor tensor, string role) => tensors[AdapterTensor.NameOf(tensor.Target.Module, role)];

        foreach (var links in layout.Tensors.Where(tensor => tensor.Scope == scope && tensor.Role.Name is FrozenLinks.A or FrozenLinks.B))
            Merge(links, links.Role.Name == FrozenLinks.A ? 0 : 2);
        Mask([.. layout.Tensors.Where(
            tensor => tensor.Scope == scope && tensor.Role.Name == HeadMask.Role && !values.ContainsKey(tensor.Name))]);
        return new(begun.Count == 0 && values.Count == state.Count && values.All(entry => ReferenceEquals(state[entry.Key], entry.Value))
            ? state : new(values), begun);

        // A factor that is redrawn wherever it is needed is drawn as each link had it.
        void Merge(AdapterTensor links, int dimension)
        {
            var factor = Beside(links, links.Role.Follows!);
            var isOwn = factor.Scope == scope;
            if (isOwn && !values.ContainsKey(factor.Name)) return; // refused where the state is checked
            var rank = factor.Shape[dimension];
            var merged = (int)((values.TryGetValue(links.Name, out var known) ? known.Shape[dimension] : 0) / rank);
            for (var link = merged; link < layout.Spec.Links; link++)
            {
                var live = isOwn ? values[factor.Name] : Draw(factor, link);
                values[links.Name] = values.TryGetValue(links.Name, out var before) ? Joined(before, live, dimension) : live;
                if (!isOwn) continue;
                values[factor.Name] = Draw(factor, link + 1);
                begun.Add(factor.Name);
            }
        }

        void Mask(IReadOnlyList<AdapterTensor> masks)
        {
            var calibration = layout.Spec.Lifecycle.Select(static step => step.What).OfType<LifecycleAction.CalibrateMask>()
                .FirstOrDefault();
            var heads = masks.Select(mask => (Mask: mask, Heads: Beside(mask, mask.Role.Follows!)))
                .Where(pair => values.ContainsKey(pair.Heads.Name)).ToList();
            if (calibration is null || heads.Count == 0) return;
            foreach (var span in heads.GroupBy(pair => SpanOf(pair.Heads.Target.Module, calibration.Over, layout.Spec),
                StringComparer.Ordinal))
            {
                var threshold = Threshold([.. span.SelectMany(pair => values[pair.Heads.Name].Data)], calibration.Sparsity);
                foreach (var (mask, own) in span)
                {
                    values[mask.Name] = new(mask.Shape, [.. values[own.Name].Data.Select(value => Math.Abs(value) >= threshold ? 1f : 0f)]);
                    values[own.Name] = Draw(own, link: 0);
                    begun.Add(own.Name);
                }
            }
        }
    }

    /// <summary>
    /// The k-th largest magnitude, k = (1 - sparsity) n without its fraction, at least 1 (LoRI, arXiv 2504.07448): all that are as large
    /// are kept, ties too.
    /// </summary>
    internal static float Threshold(float[] entries, double sparsity)
    {
        for (var i = 0; i < entries.Length; i++) entries[i] = Math.Abs(entries[i]);
        Array.Sort(entries);
        return entries[^Math.Max(1, (int)((1 - sparsity) * entries.Length))];
    }

    // What a layer's entries are compared with: all that have the same word.
    private static string SpanOf(string module, MaskSpan over, AdapterSpec spec) => over switch
    {
        MaskSpan.Matrix => module,
        MaskSpan.Projection => AdapterLayout.LastPart(module),
        MaskSpan.Layer => ModuleRules.LayerOf(spec, module) is { } block ? $"{block}" : module,
        MaskSpan.Module when module.LastIndexOf('.') is > 0 and var end => AdapterLayout.LastPart(module[..end]),
        MaskSpan.Module => module,
        _ => "",
    };

    // One behind the other in a dimension; the others are the same.
    private static NamedArray Joined(NamedArray first, NamedArray second, int dimension)
    {
        long[] shape = [.. first.Shape];
        shape[dimension] += second.Shape[dimension];
        int[] widths = [.. new[] { first, second }.Select(array => (int)NamedArray.Count([.. array.Shape.Skip(dimension)]))];
        var joined = new float[first.Data.Length + second.Data.Length];
        for (var block = 0; block < first.Data.Length / widths[0]; block++)
        {
            var at = block * (widths[0] + widths[1]);
            first.Data.AsSpan(block * widths[0], widths[0]).CopyTo(joined.AsSpan(at));
            second.Data.AsSpan(block * widths[1], widths[1]).CopyTo(joined.AsSpan(at + widths[0]));
        }

        return new(shape, joined);
    }
}
