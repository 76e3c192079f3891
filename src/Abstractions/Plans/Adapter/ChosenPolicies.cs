using System.Collections.Immutable;

namespace FedRLora.Abstractions.Plans;

/// <summary>Policies that differ from those of their roles; equal where all of them are.</summary>
internal sealed class ChosenPolicies : IEquatable<ChosenPolicies>
{
    private readonly ImmutableSortedDictionary<string, TensorPolicy> _byRole;

    private ChosenPolicies(ImmutableSortedDictionary<string, TensorPolicy> byRole) => _byRole = byRole;

    public static ChosenPolicies None { get; } = new(ImmutableSortedDictionary.Create<string, TensorPolicy>(StringComparer.Ordinal));

    public TensorPolicy? Find(string role) => _byRole.GetValueOrDefault(role);

    public ChosenPolicies With(TensorRole role, TensorPolicy policy) =>
        new(policy == role.Default ? _byRole.Remove(role.Name) : _byRole.SetItem(role.Name, policy));

    public bool Equals(ChosenPolicies? other) => other is not null && _byRole.SequenceEqual(other._byRole);

    public override bool Equals(object? obj) => Equals(obj as ChosenPolicies);

    public override int GetHashCode() =>
        _byRole.Aggregate(0, static (hash, entry) => HashCode.Combine(hash, entry.Key, entry.Value));
}
