using System.Text.Json.Nodes;
using FedRLora.Abstractions;
using FedRLora.Training.Devices;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training.Models;

/// <summary>
/// Slower rotary angles for sequences longer than a model was first trained on. Formulas: <c>modeling_rope_utils.py</c> of Hugging
/// Face transformers.
/// </summary>
public sealed record RopeScaling
{
    // Beyond them float32 holds no angle, or none that tells positions apart.
    private const float Least = 1e-6f;
    private const float Most = 1e9f;

    /// <summary>Low frequencies are divided by this.</summary>
    public required double Factor { get; init; }

    /// <summary>Null for "linear": every frequency is low.</summary>
    public Llama3Bands? Bands { get; init; }

    /// <summary>
    /// A divisor for each frequency, in place of one for all: "longrope" whose factors are the same at every length. A GGUF file has
    /// them in its tensor <c>rope_freqs.weight</c>.
    /// </summary>
    public IReadOnlyList<float>? Factors { get; init; }

    /// <summary>
    /// Base, scaling and share of the rotary angles, as <c>rope_theta</c> and <c>rope_scaling</c> or, from newer versions of
    /// transformers, together in <c>rope_parameters</c>.
    /// </summary>
    /// <param name="reader">The configuration.</param>
    /// <param name="thetaKey">The family's key for the base outside <c>rope_parameters</c>.</param>
    /// <param name="fractionKey">The same for the share of a head's width that turns; null where all of it does.</param>
    /// <param name="fraction">That share where neither says.</param>
    internal static (double Theta, RopeScaling? Scaling, double Fraction) Read(
        ConfigReader reader, string thetaKey = "rope_theta", string? fractionKey = null, double fraction = 1)
    {
        var (scaling, together) = (reader.Section("rope_scaling"), reader.Section("rope_parameters"));
        var theta = Number(reader, thetaKey, together, "rope_theta", absent: 10000);
        if (fractionKey is not null) fraction = Number(reader, fractionKey, together, "partial_rotary_factor", fraction);
        var (older, newer) = (scaling is null ? null : Read(scaling), together is null ? null : Read(together));
        if (scaling is not null && together is not null && Shown(older) != Shown(newer))
            throw reader.Contradiction("rope_scaling", Shown(older), "rope_parameters", Shown(newer));
        return (theta, newer ?? older, fraction);
    }

    /// <summary>The value of <c>rope_scaling</c>.</summary>
    internal static JsonObject? Write(ModelConfig config) => Write(config.RopeScaling, config.MaxPositions);

    private static JsonObject? Write(RopeScaling? scaling, int maxPositions) => scaling switch
    {
        null => null,
        { Factors: { } factors } => new()
        {
            ["rope_type"] = "longrope",
            ["factor"] = 1.0,
            ["attention_factor"] = 1.0,
            ["original_max_position_embeddings"] = maxPositions,
            ["short_factor"] = new JsonArray([.. factors.Select(static factor => JsonValue.Create(factor))]),
            ["long_factor"] = new JsonArray([.. factors.Select(static factor => JsonValue.Create(factor))]),
        },
        { Bands: null } => new() { ["rope_type"] = "linear", ["factor"] = scaling.Factor },
        { Bands: var bands } => new()
        {
            ["rope_type"] = "llama3",
            ["factor"] = scaling.Factor,
            ["low_freq_factor"] = bands.LowFrequency,
            ["high_freq_factor"] = bands.HighFrequency,
            ["original_max_position_embeddings"] = bands.OriginalMaxPositions,
        },
    };

    /// <summary>The scaled frequencies, <c>[dim / 2]</c>.</summary>
    internal Tensor Apply(Tensor frequencies)
    {
        if (Factors is not null) return frequencies / frequencies.device.To(tensor(Factors.ToArray(), ScalarType.Float32, CPU));
        var slowed = frequencies / Living.Of(Factor);
        if (Bands is not { } bands) return slowed;
        var turns = Living.Of(bands.OriginalMaxPositions) / (Living.Of(2 * Math.PI) / frequencies); // within the first training's length
        var share = ((turns - Living.Of(bands.LowFrequency)) / Living.Of(bands.HighFrequency - bands.LowFrequency))
            .clamp(Living.Of(0), Living.Of(1));
        return (share.neg().Plus(Living.One) * slowed).Plus(share * frequencies);
    }

    /// <summary>Refuses what is not a number to compute with.</summary>
    /// <exception cref="BadInputException">A value is out of range; it is named with its bound.</exception>
    internal void Validate(string name, int rotaryDim)
    {
        if (Factors is { } factors)
        {
            if (factors.Count != rotaryDim / 2)
                throw new BadInputException($"{name}: {factors.Count} rotary factors, expected {rotaryDim / 2}, one for each frequency");
            if (factors.FirstOrDefault(static factor => !(factor is >= Least and <= Most), 1) is var wrong and not 1)
                throw new BadInputException(
                    FormattableString.Invariant($"{name}: a rotary factor is {wrong}, expected numbers from {Least} to {Most}"));
        }

        if (!(Factor is >= Least and <= Most))
            throw new BadInputException(
                FormattableString.Invariant($"{name}: the rotary factor is {Factor}, expected a number from {Least} to {Most}"));
        if (Bands is not { } bands) return;
        if (bands.OriginalMaxPositions < 1)
            throw new BadInputException($"{name}: original_max_position_embeddings is {bands.OriginalMaxPositions}, expected at least 1");
        if (!(bands.LowFrequency > 0 && bands.HighFrequency > bands.LowFrequency && double.IsFinite(bands.HighFrequency)))
            throw new BadInputException(FormattableString.Invariant(
                $"{name}: low_freq_factor is {bands.LowFrequency} and high_freq_factor is {bands.HighFrequency}, expected 0 < low < high"));
    }

    // What is said twice has to be the same.
    private static double Number(ConfigReader reader, string key, ConfigReader? together, string keyThere, double absent)
    {
        var here = reader.Number(key, absent);
        var there = together?.Number(keyThere, here) ?? here;
        if (there == here || !reader.Has(key)) return there;
        var (value, other) = (FormattableString.Invariant($"{here}"), FormattableString.Invariant($"{there}"));
        throw reader.Contradiction(key, value, "rope_parameters." + keyThere, other);
    }

    private static string Shown(RopeScaling? scaling) => Write(scaling, maxPositions: 1)?.ToJsonString() ?? "none";

    private static RopeScaling? Read(ConfigReader section)
    {
        string? TypeIn(string key) => section.Has(key) ? section.OneOf(key, "default", "linear", "llama3", "longrope") : null;
        var (newer, older) = (TypeIn("rope_type"), TypeIn("type")); // a name and its older name; some files have both
        if (newer is not null && older is not null && newer != older) throw section.Contradiction("rope_type", newer, "type", older);
        var type = newer ?? older ?? "default";
        var scaling = type == "default" ? null : type == "longrope" ? ReadFactors(section) : new RopeScaling
        {
            Factor = section.Number("factor"),
            Bands = type == "linear" ? null : new(section.Number("low_freq_factor"), section.Number("high_freq_factor"),
                section.Size("original_max_position_embeddings")),
        };
        section.RefuseUnread();
        return scaling;
    }

    // Factors that change with the length, or an attention that is scaled by it, are not implemented.
    private static RopeScaling ReadFactors(ConfigReader section)
    {
        section.Ignore("factor", "original_max_position_embeddings"); // from where the long factors and the attention's factor hold
        var (shorter, longer) = (section.Numbers("short_factor"), section.Numbers("long_factor"));
        if (!shorter.SequenceEqual(longer)) throw section.Bad("long_factor", "the same numbers as short_factor; no other is implemented");
        if (section.Number("attention_factor") != 1) throw section.Bad("attention_factor", "1; no other is implemented");
        return new() { Factor = 1, Factors = [.. shorter.Select(static factor => (float)factor)] };
    }
}

/// <summary>
/// "llama3": frequencies that turn often enough within the original length stay, slow ones are divided, those between are mixed.
/// </summary>
/// <param name="LowFrequency">Up to so many turns a frequency is divided.</param>
/// <param name="HighFrequency">From so many turns on it stays.</param>
/// <param name="OriginalMaxPositions">Length that the model was first trained on.</param>
public sealed record Llama3Bands(double LowFrequency, double HighFrequency, int OriginalMaxPositions);
