using System.Globalization;
using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization;
using FedRLora.Abstractions.Plans;
using FedRLora.ControlPlane.Views;
using FedRLora.Training.Adapters;

namespace FedRLora.Client.Rendering;

/// <summary>All that a plan's <c>adapter: NAME</c> stands for.</summary>
internal static class MethodPage
{
    private static readonly JsonSerializerOptions InAPlan = new()
    {
        PropertyNamingPolicy = JsonNamingPolicy.CamelCase, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
        Converters = { new JsonStringEnumConverter(JsonNamingPolicy.CamelCase) },
    };

    /// <summary>The page as text.</summary>
    /// <param name="name">The method's name.</param>
    /// <param name="entry">The method.</param>
    /// <param name="sizes">On a model; null where none is given.</param>
    /// <param name="width">Columns of the terminal; null where nothing breaks lines.</param>
    public static string Of(string name, CatalogEntry entry, AdapterSizes? sizes, int? width)
    {
        var (spec, text) = (entry.Spec, new StringBuilder());
        var tensors = TensorUse.Of(spec, sizes?.Bytes);
        void Line(string line) => text.Append(Words.Broken(line, width)).Append('\n');
        Line($"{name}: {entry.Summary}");
        Line(entry.Source);
        text.Append('\n').Append(PlainTable.Of(["value", "is"], Values(spec), width));
        text.Append('\n').Append(PlainTable.Of(
            ["tensor", "shape on a layer", "begins", "trains", "scope", "received by", .. sizes is null ? [] : (string[])["a client"]],
            [.. spec.Roles.Zip(tensors, (role, use) => Row(role, spec.Tensor(role.Name), use))], width));
        text.Append('\n');
        if (sizes is null) Line("Sizes follow from the model: give --model FOLDER.");
        else Line($"The model has {Words.Count(sizes.Layers, "layer")} that it is on.");
        Line(TensorUse.Leaves(tensors, spec));
        Line(Export(spec));
        return text.ToString();
    }

    /// <summary>Whether it exports exactly.</summary>
    public static string Export(AdapterSpec spec)
    {
        if (!spec.IsStatic) return "Export: no exact PEFT form, for its mix depends on the input; --nearest weighs its heads equally.";
        var why = spec.Start == Start.Anchored ? ", the frozen start being rank too" : "";
        return $"Export: exact, {(spec.Decomposed ? "DoRA" : "LoRA")} in PEFT's layout of rank {Ranks(spec)}{why}.";
    }

    private static string Ranks(AdapterSpec spec)
    {
        var rank = AdapterSizes.ExportedRank(spec);
        return spec.TaskBranch.Exists ? $"{rank - spec.TaskBranch.Rank}, {rank} where the task pair is" : $"{rank}";
    }

    private static string[][] Values(AdapterSpec spec)
    {
        string Number(double value) => value.ToString("R", CultureInfo.InvariantCulture);
        var (dropout, where) = (spec.Dropout, spec.Dropout.Site == DropoutSite.Input ? "on the input" : "between A and B");
        var masks = spec.Heads == 1 ? "" : dropout.Masks == MaskSharing.PerHead ? ", a mask for each head" : ", one mask for all heads";
        return
        [
            ["rank", $"{spec.Rank}"], ["alpha", Number(spec.Alpha)],
            ["scaling", $"{Words.Named(spec.Scaling)}, s = {Number(Math.Round(spec.ScalingFactor, 4))}"], ["heads", $"{spec.Heads}"],
            .. Parts(spec), ["routing", Json(spec.Routing)], ["start", Words.Named(spec.Start)],
            ["dropout", dropout.P == 0 || dropout.Site == DropoutSite.None ? "none" : $"{Number(dropout.P)} {where}{masks}"],
            ["decomposed", spec.Decomposed ? "true" : "false"], ["weighting", Words.Named(spec.Weighting)],
            .. spec.Objectives.Select(static term => (string[])["objective", Json(term)]),
            .. spec.Lifecycle.Select(static step => (string[])["lifecycle", Json(step)]),
        ];
    }

    // What most methods lack is shown where it is there.
    private static IEnumerable<string[]> Parts(AdapterSpec spec)
    {
        if (spec.Downs != Downs.One) yield return ["downs", Words.Named(spec.Downs)];
        if (spec.Core.Form != CoreForm.None) yield return ["core", Json(spec.Core)];
        if (spec.HeadScale != HeadScaleForm.None) yield return ["headScale", Words.Named(spec.HeadScale)];
        if (spec.TaskBranch.Exists) yield return ["taskBranch", Json(spec.TaskBranch)];
    }

    // As a plan may have it, which is YAML's flow style.
    private static string Json<T>(T value) => JsonSerializer.Serialize(value, InAPlan).Replace("\"", "", StringComparison.Ordinal)
        .Replace(":", ": ", StringComparison.Ordinal).Replace(",", ", ", StringComparison.Ordinal);

    private static string[] Row(TensorRole role, TensorPolicy policy, TensorUse use) =>
    [
        role.Name, role.Shape, Begins(role, policy), policy is { Trains: true, Scope: not Scope.Seed } ? "yes" : "no",
        Words.Named(use.Scope), use.ReceivedBy, .. use.Bytes is { } bytes ? [Words.Bytes(bytes)] : (string[])[],
    ];

    private static string Begins(TensorRole role, TensorPolicy policy)
    {
        if (!role.IsDrawn) return "as in the weight";
        var law = policy.Init.HasValue
            ? string.Create(CultureInfo.InvariantCulture, $"{Words.Named(policy.Init.Law)}: {policy.Init.Value:R}")
            : Words.Named(policy.Init.Law);
        return policy.Init.Law == InitLaw.Zero || policy.Seed == SeedPolicy.Common ? law : $"{law}, {Words.Named(policy.Seed)}";
    }
}
