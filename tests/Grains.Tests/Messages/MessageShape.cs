using System.Globalization;
using System.Reflection;
using System.Text;
using FedRLora.Abstractions.Grains;
using Orleans;

namespace FedRLora.Grains.Tests.Messages;

/// <summary>
/// The messages between a coordinator and its sites as text: calls, and the types that they carry with the numbers of fields.
/// </summary>
internal static class MessageShape
{
    private static readonly (Type Interface, string Direction)[] Links =
    [
        (typeof(ISiteGrain), "coordinator to site"),
        (typeof(ISiteRunGrain), "control plane to site"),
        (typeof(IRunReportingGrain), "site to coordinator"),
    ];

    private static readonly Dictionary<Type, string> Simple = new()
    {
        [typeof(string)] = "string", [typeof(int)] = "int32", [typeof(long)] = "int64", [typeof(ulong)] = "uint64", [typeof(bool)] = "bool",
        [typeof(double)] = "float64", [typeof(float)] = "float32", [typeof(byte[])] = "bytes", [typeof(DateTimeOffset)] = "time",
        [typeof(TimeSpan)] = "duration", [typeof(CancellationToken)] = "cancellation", [typeof(object)] = "any",
    };

    private static readonly NullabilityInfoContext Nullability = new();

    /// <summary>Every type that the calls carry.</summary>
    public static IReadOnlyList<Type> Types { get; } = [.. Closure().OrderBy(static type => NameOf(type), StringComparer.Ordinal)];

    /// <summary>All of it.</summary>
    public static string Text()
    {
        var text = new StringBuilder();
        foreach (var (type, direction) in Links)
        {
            text.Append(CultureInfo.InvariantCulture, $"{NameOf(type)} ({direction})\n");
            foreach (var method in type.GetMethods().OrderBy(NameOf, StringComparer.Ordinal))
            {
                var taken = string.Join(", ", method.GetParameters().Where(static one => one.ParameterType != typeof(CancellationToken))
                    .Select(static one => Written(one.ParameterType, Nullability.Create(one))));
                text.Append(CultureInfo.InvariantCulture, $"  {NameOf(method)}({taken})");
                var given = Nullability.Create(method.ReturnParameter);
                if (method.ReturnType.IsGenericType)
                    text.Append(method.ReturnType.Name.StartsWith("IAsync", StringComparison.Ordinal) ? " -> stream of " : " -> ")
                        .Append(Written(method.ReturnType.GetGenericArguments()[0], given.GenericTypeArguments[0]));
                text.Append('\n');
            }
        }

        foreach (var type in Types)
        {
            text.Append(CultureInfo.InvariantCulture, $"{NameOf(type)}\n");
            if (type.IsEnum)
            {
                foreach (var value in Enum.GetValues(type))
                    text.Append(CultureInfo.InvariantCulture, $"  {Convert.ToInt64(value, CultureInfo.InvariantCulture)} {value}\n");
                continue;
            }

            foreach (var (number, name, written) in FieldsOf(type).OrderBy(static field => field.Number))
                text.Append(CultureInfo.InvariantCulture, $"  {number} {name} {written}\n");
        }

        return text.ToString();
    }

    /// <summary>The name by which a type or call is known on the wire.</summary>
    public static string NameOf(MemberInfo member) => member.GetCustomAttribute<AliasAttribute>()?.Alias
        ?? (member is Type { IsEnum: true } ? member.Name : throw new InvalidOperationException($"{member} has no alias"));

    private static IEnumerable<(uint Number, string Name, string Written)> FieldsOf(Type type)
    {
        foreach (var property in type.GetProperties(BindingFlags.Public | BindingFlags.Instance))
        {
            if (property.GetCustomAttribute<IdAttribute>() is { } id)
                yield return (id.Id, property.Name, Written(property.PropertyType, Nullability.Create(property)));
        }
    }

    private static HashSet<Type> Closure()
    {
        HashSet<Type> found = [];
        void Add(Type type)
        {
            if (Simple.ContainsKey(type)) return;
            if (Nullable.GetUnderlyingType(type) is { } inner)
            {
                Add(inner);
                return;
            }

            if (type.IsArray) Add(type.GetElementType()!);
            else if (type.IsGenericType) foreach (var argument in type.GetGenericArguments()) Add(argument);
            else if (found.Add(type) && !type.IsEnum)
            {
                foreach (var property in type.GetProperties().Where(static one => one.GetCustomAttribute<IdAttribute>() is not null))
                    Add(property.PropertyType);
            }
        }

        foreach (var method in Links.SelectMany(static link => link.Interface.GetMethods()))
        {
            foreach (var parameter in method.GetParameters()) Add(parameter.ParameterType);
            if (method.ReturnType.IsGenericType) Add(method.ReturnType.GetGenericArguments()[0]);
        }

        return found;
    }

    private static string Written(Type type, NullabilityInfo nullability)
    {
        var absent = Nullable.GetUnderlyingType(type) is not null || nullability.ReadState == NullabilityState.Nullable ? "?" : "";
        type = Nullable.GetUnderlyingType(type) ?? type;
        if (Simple.TryGetValue(type, out var simple)) return simple + absent;
        if (type.IsArray) return $"list<{Written(type.GetElementType()!, nullability.ElementType!)}>{absent}";
        if (!type.IsGenericType) return NameOf(type) + absent;
        var arguments = type.GetGenericArguments();
        var form = arguments.Length == 2 ? "map" : "list";
        var inner = arguments.Select((argument, number) => Written(argument, nullability.GenericTypeArguments[number]));
        return $"{form}<{string.Join(", ", inner)}>{absent}";
    }
}
