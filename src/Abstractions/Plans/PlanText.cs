using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization;
using FedRLora.Abstractions.Ports;

namespace FedRLora.Abstractions.Plans;

/// <summary>Parts of plans as text, which is equal where the parts are: records compare their lists by reference.</summary>
public static class PlanText
{
    private static readonly JsonSerializerOptions Options = new()
    {
        Converters = { new JsonStringEnumConverter() }, NumberHandling = JsonNumberHandling.AllowNamedFloatingPointLiterals,
    };

    /// <summary>Every value of a part of a plan.</summary>
    public static string Of<T>(T part) => JsonSerializer.Serialize(part, Options);

    /// <summary>
    /// A short digest of every value that trained tensors depend on, also of those that the plan leaves to the version: another version
    /// may read the same plan otherwise.
    /// </summary>
    public static string ValuesOf(FederationPlan plan)
    {
        var values = $"{Of(RecordedValues.Of(plan.Adapter))}\n{Of(plan.Training)}";
        return Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(values)))[..16];
    }

    /// <summary>Holds what this version reads in a plan against a committed round, whose engine names what was read then.</summary>
    /// <param name="plan">The plan that the round was made with, as this version reads it.</param>
    /// <param name="run">What the refusal calls the run.</param>
    /// <param name="engine">The round's; one of a version that recorded no values is held against nothing.</param>
    /// <exception cref="BadInputException">The plan leaves a value open that this version fills otherwise.</exception>
    public static void RequireValues(FederationPlan plan, string run, string? engine)
    {
        if (engine is null || EngineFingerprint.Parse(engine)?.Values is not { } made || made == ValuesOf(plan)) return;
        throw new BadInputException($"{run}: this version reads other values of adapter or training in the plan than the run was made "
            + "with, since a default has changed; use the version that made the run");
    }
}
