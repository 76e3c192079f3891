using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace FedRLora.Client.Rendering;

/// <summary>How the CLI writes JSON: camelCase keys, names instead of numbers for enums.</summary>
internal static class Json
{
    public static JsonSerializerOptions Lines { get; } = new(JsonSerializerDefaults.Web)
    {
        Converters = { new JsonStringEnumConverter(JsonNamingPolicy.CamelCase) },
        DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
    };

    public static JsonSerializerOptions Indented { get; } = new(Lines) { WriteIndented = true, NewLine = "\n" };
}
