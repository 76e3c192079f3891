using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;

namespace FedRLora.ControlPlane.Views;

/// <summary>
/// How JSON is written, whoever asks for it: camelCase keys, names instead of numbers for enums. docs/json.md describes it.
/// </summary>
internal static class Json
{
    /// <summary>
    /// The version of the schema, which each top object carries. It is raised where a key goes away or means something else; a key that
    /// is added raises nothing.
    /// </summary>
    public const int Schema = 1;

    public static JsonSerializerOptions Lines { get; } = new(JsonSerializerDefaults.Web)
    {
        Converters = { new JsonStringEnumConverter(JsonNamingPolicy.CamelCase), new FiniteOrNull() },
        DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
    };

    public static JsonSerializerOptions Indented { get; } = new(Lines) { WriteIndented = true, NewLine = "\n" };

    /// <summary>An object as one line, with the version of the schema first.</summary>
    /// <exception cref="ArgumentException">It is no object.</exception>
    public static string Line<T>(T content) => Top(content).ToJsonString(Lines);

    /// <summary>An object for a person to read, with the version of the schema first.</summary>
    /// <inheritdoc cref="Line"/>
    public static string Page<T>(T content) => Top(content).ToJsonString(Indented);

    private static JsonObject Top<T>(T content)
    {
        if (JsonSerializer.SerializeToNode(content, Lines) is not JsonObject described)
            throw new ArgumentException("The top of what is written is an object.", nameof(content));
        described.Remove("schema");
        described.Insert(0, "schema", Schema);
        return described;
    }

    // JSON has no other numbers, and a result is JSON whatever a model computed.
    private sealed class FiniteOrNull : JsonConverter<double>
    {
        public override bool HandleNull => true;

        public override double Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options) =>
            reader.TokenType == JsonTokenType.Null ? double.NaN : reader.GetDouble();

        public override void Write(Utf8JsonWriter writer, double value, JsonSerializerOptions options)
        {
            if (double.IsFinite(value)) writer.WriteNumberValue(value);
            else writer.WriteNullValue();
        }
    }
}
