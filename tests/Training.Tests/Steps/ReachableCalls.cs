using Mono.Cecil;
using Mono.Cecil.Cil;

namespace FedRLora.Training.Tests.Steps;

/// <summary>
/// The methods of an assembly that a method can come to, by its code: calls, delegates and lambdas of the types it comes through, and of
/// what is called on an interface or a base class every method that may stand there. More than can happen, and not less, but for reflection
/// and interfaces of other assemblies, of which disposal alone is followed.
/// </summary>
internal sealed class ReachableCalls
{
    private readonly ModuleDefinition _module;
    private readonly List<TypeDefinition> _types;
    private readonly Dictionary<MethodDefinition, MethodDefinition?> _from = []; // by what it was first come to
    private readonly Dictionary<MethodDefinition, List<MethodDefinition>> _instead = [];
    private readonly Dictionary<(TypeDefinition Type, TypeDefinition Wanted), bool> _is = [];

    public ReachableCalls(string assembly)
    {
        _module = ModuleDefinition.ReadModule(assembly);
        _types = [.. _module.GetTypes()];
    }

    /// <summary>Methods of other assemblies that are called, each with the way that leads there, the last caller first.</summary>
    /// <param name="type">Full name of the type where it begins.</param>
    /// <param name="method">The name of its method.</param>
    /// <param name="isLeft">Methods whose code is not looked into.</param>
    public IEnumerable<(MethodReference Called, IReadOnlyList<string> Way)> From(
        string type, string method, Func<MethodDefinition, bool> isLeft)
    {
        var waiting = new Queue<MethodDefinition>();
        foreach (var root in _types.Single(one => one.FullName == type).Methods.Where(one => one.Name == method)) Add(root, null);
        while (waiting.TryDequeue(out var at))
        {
            foreach (var called in at.Body.Instructions.Select(static one => one.Operand).OfType<MethodReference>())
            {
                if (called.DeclaringType.Scope != _module && called.Resolve()?.Module != _module)
                {
                    yield return (called, WayTo(at));
                    continue;
                }

                if (called.Resolve() is not { } own) continue; // of an array
                Add(own, at);
                if (own.IsVirtual) foreach (var instead in Instead(own)) Add(instead, at);
            }

            foreach (var hidden in Hidden(at.DeclaringType)) Add(hidden, at);
        }

        void Add(MethodDefinition found, MethodDefinition? from)
        {
            if (!_from.TryAdd(found, from) || isLeft(found) || !found.HasBody) return;
            waiting.Enqueue(found);
        }
    }

    // Lambdas that a field of the type may hold, what an iterator does after it was made, and what is done at the end.
    private static IEnumerable<MethodDefinition> Hidden(TypeDefinition type) =>
        type.Methods.Where(static method => method is { IsConstructor: true, HasBody: true })
            .SelectMany(static method => method.Body.Instructions).Where(static one => one.OpCode == OpCodes.Ldftn)
            .Select(static one => ((MethodReference)one.Operand).Resolve()).OfType<MethodDefinition>()
            .Where(one => one.Module == type.Module)
            .Concat(type.Methods.Where(method => method.Name == "Dispose" || (method.Name == "MoveNext" && type.Name.StartsWith('<'))));

    private List<MethodDefinition> Instead(MethodDefinition called)
    {
        if (_instead.TryGetValue(called, out var known)) return known;
        return _instead[called] =
        [
            .. _types.SelectMany(static type => type.Methods).Where(method => method.Parameters.Count == called.Parameters.Count
                && (method.Name == called.Name || method.Name.EndsWith($".{called.Name}", StringComparison.Ordinal))
                && method.DeclaringType != called.DeclaringType && Is(method.DeclaringType, called.DeclaringType)),
        ];
    }

    private bool Is(TypeDefinition type, TypeDefinition wanted)
    {
        if (_is.TryGetValue((type, wanted), out var known)) return known;
        var found = type == wanted || type.Interfaces.Any(one => Own(one.InterfaceType) is { } itself && Is(itself, wanted))
            || (type.BaseType is { } below && Own(below) is { } own && Is(own, wanted));
        return _is[(type, wanted)] = found;

        // What is no part of the module derives from nothing in it.
        TypeDefinition? Own(TypeReference one) =>
            (one.Scope == _module || one is TypeSpecification) && one.Resolve() is { } its && its.Module == _module ? its : null;
    }

    private List<string> WayTo(MethodDefinition method)
    {
        var way = new List<string>();
        for (var at = method; at is not null; at = _from[at]) way.Add($"{at.DeclaringType.FullName}.{at.Name}");
        return way;
    }
}
