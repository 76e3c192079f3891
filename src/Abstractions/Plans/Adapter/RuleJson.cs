using System.Reflection;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace FedRLora.Abstractions.Plans;

/// <summary>A rule that a plan names, with the values of one that has some.</summary>
public interface IPlanRule
{
    /// <summary>The rule's name in a plan.</summary>
    string Rule { get; }
}

/// <summary>
/// A rule in JSON: its name, or a mapping from its name to its values, as a plan has it. What a rule declares itself is a value; what it
/// overrides is none.
/// </summary>
internal sealed class RuleJson<T> : JsonConverter<T> where T : class, IPlanRule
{
    /// <summary>The values of a rule beside its name.</summary>
    public static IReadOnlyList<PropertyInfo> ValuesOf(T rule) =>
    [
        .. rule.GetType().GetProperties(BindingFlags.Public | BindingFlags.Instance | BindingFlags.DeclaredOnly)
            .Where(static property => property.GetMethod is { } get && get == get.GetBaseDefinition() && !IsLeftOut(property)),
    ];

    public override T Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options) =>
        throw new NotSupportedException("a rule is read from a plan");

    public override void Write(Utf8JsonWriter writer, T value, JsonSerializerOptions options)
    {
        var values = ValuesOf(value);
        if (values.Count == 0)
        {
            writer.WriteStringValue(value.Rule);
            return;
        }

        writer.WriteStartObject();
        writer.WriteStartObject(value.Rule);
        foreach (var property in values)
        {
            writer.WritePropertyName(JsonNamingPolicy.CamelCase.ConvertName(property.Name));
            JsonSerializer.Serialize(writer, property.GetValue(value), property.PropertyType, options);
        }

        writer.WriteEndObject();
        writer.WriteEndObject();
    }

    // An interface's member has no base definition of its own, so that a record that gives one says that it is no value.
    private static bool IsLeftOut(PropertyInfo property) =>
        property.GetCustomAttribute<JsonIgnoreAttribute>() is not null || property.Name == nameof(IPlanRule.Rule);
}
