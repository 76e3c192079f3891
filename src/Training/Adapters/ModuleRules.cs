using System.Collections.Concurrent;
using System.Globalization;
using System.Text.RegularExpressions;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Training.Models;

namespace FedRLora.Training.Adapters;

/// <summary>A layer that an adapter is on.</summary>
/// <param name="Layer">The layer.</param>
/// <param name="Rank">R there.</param>
/// <param name="Scaling">s there.</param>
/// <param name="HasTaskBranch">A method with a task pair has it there.</param>
internal sealed record AdapterTarget(LinearShape Layer, int Rank, double Scaling, bool HasTaskBranch = false)
{
    public string Module => Layer.Module;

    public int InWidth => Layer.InWidth;

    public int OutWidth => Layer.OutWidth;
}

/// <summary>
/// Which layers a spec adapts, at which rank and scaling: PEFT's rules for target_modules, exclude_modules, layers_to_transform,
/// layers_pattern, rank_pattern and alpha_pattern. A pattern for a rank and one for an alpha are looked up independently.
/// </summary>
internal static class ModuleRules
{
    private static readonly TimeSpan Longest = TimeSpan.FromSeconds(1);
    private static readonly ConcurrentDictionary<string, Regex> Compiled = new(StringComparer.Ordinal);

    /// <summary>The targets, in the model's order.</summary>
    /// <exception cref="BadInputException">A regular expression is not valid or takes too long.</exception>
    public static IReadOnlyList<AdapterTarget> Targets(AdapterSpec spec, IReadOnlyList<LinearShape> layers)
    {
        var branched = WithTaskBranch(spec, layers);
        return [.. layers.Where(layer => IsTarget(spec, layer)).Select(layer =>
        {
            var rank = First(spec.RankPattern, layer.Module) ?? spec.Rank;
            return new AdapterTarget(
                layer, rank, spec.ScalingOf(rank, First(spec.AlphaPattern, layer.Module) ?? spec.Alpha), branched(layer.Module));
        })];
    }

    /// <summary>Whether a name is <paramref name="suffix"/> or ends in it after a dot.</summary>
    public static bool EndsIn(string module, string suffix) =>
        module.EndsWith(suffix, StringComparison.Ordinal) && (module.Length == suffix.Length || module[^(suffix.Length + 1)] == '.');

    /// <summary>Whether a key of a rank or alpha pattern is about a module.</summary>
    public static bool FitsPattern(string key, string module) => IsMatch($@"^(?:.*\.)?(?:{key})$", module);

    private static bool IsTarget(AdapterSpec spec, LinearShape layer)
    {
        if (spec.ExcludeModules.Any(suffix => EndsIn(layer.Module, suffix))) return false;
        if (spec.ExcludePattern is { } excluded && IsMatch($"^(?:{excluded})$", layer.Module)) return false;
        if (spec.TargetPattern is null && spec.TargetModules.Contains(layer.Module))
            return true; // a whole name, whatever its layer's number
        var named = spec.TargetPattern is { } pattern
            ? IsMatch($"^(?:{pattern})$", layer.Module)
            : spec.TargetModules.Count == 0 ? layer.Kind is LayerKind.Linear or LayerKind.Conv1D
            : spec.TargetModules.Any(suffix => EndsIn(layer.Module, suffix));
        return named && (spec.LayersToTransform.Count == 0
            || (LayerOf(spec, layer.Module) is { } number && spec.LayersToTransform.Contains(number)));
    }

    /// <summary>The number of the layer that a module is in, as <see cref="AdapterSpec.LayersPattern"/> finds it; null for none.</summary>
    public static int? LayerOf(AdapterSpec spec, string module)
    {
        foreach (var name in spec.LayersPattern.DefaultIfEmpty("[^.]*"))
        {
            if (Match($@"^(?:.*\.)?(?:{name})\.(\d+)\.", module) is { Success: true } found
                && int.TryParse(found.Groups[^1].ValueSpan, NumberStyles.None, CultureInfo.InvariantCulture, out var number))
                return number;
        }

        return null;
    }

    // The last blocks of the model; a layer outside of blocks counts as one of them.
    private static Func<string, bool> WithTaskBranch(AdapterSpec spec, IReadOnlyList<LinearShape> layers)
    {
        if (!spec.TaskBranch.Exists) return static _ => false;
        var blocks = layers.Select(layer => LayerOf(spec, layer.Module)).OfType<int>().Distinct().Order().ToList();
        var last = blocks.TakeLast(spec.TaskBranch.Blocks ?? Math.Max(1, blocks.Count / 4)).ToHashSet();
        return module => LayerOf(spec, module) is not { } block || last.Contains(block);
    }

    private static T? First<T>(IReadOnlyList<KeyValuePair<string, T>> patterns, string module) where T : struct
    {
        foreach (var (key, value) in patterns)
        {
            if (FitsPattern(key, module)) return value;
        }

        return null;
    }

    /// <summary>Refuses a text that is no regular expression.</summary>
    /// <exception cref="BadInputException">What is wrong with it.</exception>
    public static void CheckPattern(string pattern) => _ = RegexOf(pattern);

    private static bool IsMatch(string pattern, string module) => Match(pattern, module).Success;

    private static Match Match(string pattern, string module)
    {
        try
        {
            return RegexOf(pattern).Match(module);
        }
        catch (RegexMatchTimeoutException exception)
        {
            throw new BadInputException($"the pattern {pattern} takes longer than {Longest.TotalSeconds:0} s on {module}; "
                + "write it without nested repetition", exception);
        }
    }

    // Python spells named groups with a P.
    private static Regex RegexOf(string pattern)
    {
        try
        {
            return Compiled.GetOrAdd(pattern, static text => new Regex(
                text.Replace("(?P<", "(?<", StringComparison.Ordinal).Replace(@"\Z", @"\z", StringComparison.Ordinal),
                RegexOptions.CultureInvariant, Longest));
        }
        catch (ArgumentException exception)
        {
            throw new BadInputException(
                $"the pattern {pattern} is not a valid regular expression: {exception.Message.ReplaceLineEndings(" ")}", exception);
        }
    }
}
