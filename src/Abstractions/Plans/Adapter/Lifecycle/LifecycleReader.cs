using FedRLora.Abstractions.Plans.Reading;
using static FedRLora.Abstractions.Plans.Reading.Interval;

namespace FedRLora.Abstractions.Plans;

/// <summary>Reads <c>adapter.lifecycle</c>: rounds and what happens in them, <c>{rounds: odd, train: [B]}</c>.</summary>
internal static class LifecycleReader
{
    private const string Example = "a list such as [{rounds: odd, train: [B]}, {rounds: every 2, do: mergeAndRedraw}]";

    public static IReadOnlyList<LifecycleStep> Read(PlanSection adapter, IReadOnlyList<LifecycleStep> fallback) =>
        adapter.Node("lifecycle") is null ? fallback
        : [.. adapter.Items<LifecycleStep?>(
            "lifecycle", Example, "is no step; give {rounds: odd, train: [B]}.", null, Step).OfType<LifecycleStep>()];

    private static LifecycleStep? Step(PlanSection step)
    {
        var (given, rounds) = (step.Require("rounds", RoundSet.Forms), (RoundSet?)null);
        if (given is ScalarNode { IsNull: false } text)
            rounds = RoundSet.Parse(text.Value) ?? step.Wrong<RoundSet?>(
                text, "rounds", $"{PlanSection.Shown(text)} are no rounds; give {RoundSet.Forms}.");
        else if (given is not null)
            step.Wrong<RoundSet?>(given, "rounds", $"{PlanSection.Shown(given)} stands here; give {RoundSet.Forms}.");
        return What(step, given) is { } what && rounds is not null ? new(rounds, what) : null;
    }

    private static LifecycleAction? What(PlanSection step, PlanNode? rounds)
    {
        string[] actions = ["train", "do", "calibrateMask"];
        string[] given = [.. actions.Where(step.Has)];
        if (given.Length > 1)
        {
            return step.Wrong<LifecycleAction?>(
                step.Node(given[1])!, given[1], $"stands beside {given[0]}; give each a step of its own.");
        }

        switch (given)
        {
            case ["train"]:
                return Train(step);
            case ["do"]:
                step.Name("do", "mergeAndRedraw", ["mergeAndRedraw"]);
                return new LifecycleAction.MergeAndRedraw();
            case ["calibrateMask"]:
                return step.Section("calibrateMask", new LifecycleAction.CalibrateMask(), static mask => new(
                    mask.Number("sparsity", 0.9, Interval.Below(0, 1)), mask.Choice("over", MaskSpan.Model)), shorthand: "sparsity");
            default:
                foreach (var action in actions) step.Node(action);
                if (rounds is not null)
                    step.Wrong<string>(rounds, "rounds", "says when, and nothing says what; give train, do or calibrateMask beside it.");
                return null;
        }
    }

    private static LifecycleAction.Train? Train(PlanSection step)
    {
        string[] known =
            [.. AdapterParts.Chosen.Select(static role => role.Name), LifecycleAction.Train.Heads, LifecycleAction.Train.Shared];
        var node = step.Node("train");
        IReadOnlyList<string> names = node is ScalarNode { IsNull: false } word
            ? [word.Value]
            : step.Names("train", "a tensor, such as B").Names ?? [];
        if (node is ListNode or ScalarNode && names.Count == 0 && !step.IsUnreadable("train"))
            return step.Wrong<LifecycleAction.Train?>(node, "train", "names nothing; give [B], heads or shared.");
        if (names.FirstOrDefault(name => !known.Contains(name)) is { } unknown)
        {
            return step.Wrong<LifecycleAction.Train?>(
                node!, "train", PlanSection.Unknown(new ScalarNode(node!.Place, unknown, Quoted: false), known));
        }

        return new(names);
    }
}
