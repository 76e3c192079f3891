using System.Text.Json;
using System.Text.Json.Serialization;

namespace FedRLora.Abstractions.Plans;

/// <summary>Parts of plans as text, which is equal where the parts are: records compare their lists by reference.</summary>
public static class PlanText
{
    private static readonly JsonSerializerOptions Options = new() { Converters = { new JsonStringEnumConverter() }, NumberHandling = JsonNumberHandling.AllowNamedFloatingPointLiterals };

    /// <summary>Every value of a part of a plan.</summary>
    public static string Of<T>(T part) => JsonSerializer.Serialize(part, Options);
}
