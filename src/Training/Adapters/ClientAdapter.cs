using System.Collections.Concurrent;
using System.Globalization;
using System.Text.Json;
using System.Text.Json.Serialization;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Adapters.Algebra;
using FedRLora.Training.Inputs;
using static TorchSharp.torch;

namespace FedRLora.Training.Adapters;

/// <summary>All that a client's adapter on a model is made of.</summary>
/// <param name="Layout">The tensors and where they go.</param>
/// <param name="Values">The value of each.</param>
/// <param name="Start">The frozen start where that is anchored.</param>
internal sealed record ClientAdapter(AdapterLayout Layout, AdapterState Values, AdapterState? Start)
{
    // So far from what float32 holds that what goes up is finite too.
    private const float MostFinite = 1e6f;

    private static readonly JsonSerializerOptions Options = new() { NumberHandling = JsonNumberHandling.AllowNamedFloatingPointLiterals };

    /// <summary>
    /// A digest of what the adapter computes in evaluation, by the content of its tensors; who owns a tensor is no part of it. Null where
    /// it computes what the frozen base does: a layer whose wide output is multiplied by zeros adds zero whatever comes down, to the last
    /// bit.
    /// </summary>
    /// <param name="known">Digests of arrays that were looked at before, while nobody writes into them.</param>
    public string? Digest(ConcurrentDictionary<NamedArray, string> known)
    {
        if (Layout.Targets.All(AddsZero)) return null;
        using var hash = new ContentHash();
        var spec = Layout.Spec.WithEach(static tensor => tensor with { Scope = default });
        hash.Add(JsonSerializer.Serialize(spec, Options));
        foreach (var target in Layout.Targets)
            hash.Add(string.Create(CultureInfo.InvariantCulture, $"{target.Layer} {target.Rank} {target.Scaling:R}"));
        foreach (var tensor in Layout.Tensors) hash.Add(tensor.Name).Add(DigestOf(Values[tensor.Name]));
        foreach (var (name, value) in Start ?? AdapterState.Empty) hash.Add(name).Add(DigestOf(value));
        return hash.Digest();

        string DigestOf(NamedArray array)
        {
            if (known.TryGetValue(array, out var digest)) return digest;
            using var content = new ContentHash();
            return known[array] = content.AddAll<long>(array.Shape.ToArray()).AddAll<float>(array.Data).Digest();
        }
    }

    private bool AddsZero(AdapterTarget target)
    {
        if (Start is not null || Layout.Method.HasColumns || !Layout.Method.IsStatic) return false;
        using var scope = NewDisposeScope();
        using var inference = no_grad();
        var tensors = new LayerTensors(role => TensorData.OnDevice(Of(target, role), CPU).unsqueeze(0), static _ => null);
        return Layout.MethodOf(target).Factors(tensors).Up.All(static heads => heads.count_nonzero().item<long>() == 0)
            && Layout.RolesOn(target)
                .All(role => Array.TrueForAll(Of(target, role.Name).Data, static value => MathF.Abs(value) < MostFinite));
    }

    private NamedArray Of(AdapterTarget target, string role) => Values[AdapterTensor.NameOf(target.Module, role)];
}
