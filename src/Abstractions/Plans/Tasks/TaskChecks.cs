namespace FedRLora.Abstractions.Plans;

/// <summary>Whether each declared task has clients, and labels that can be told apart.</summary>
internal static class TaskChecks
{
    public static IEnumerable<PlanConflict> Of(FederationPlan plan)
    {
        if (plan.Tasks.Count == 0) return [];
        var known = plan.Clients.Select(static client => client.Task).ToHashSet(StringComparer.Ordinal);
        return plan.Tasks.SelectMany(task => Of(task.Key, task.Value, known));
    }

    private static IEnumerable<PlanConflict> Of(string task, TaskSpec spec, HashSet<string> known)
    {
        var path = $"tasks.{task}";
        if (!known.Contains(task) && !known.Contains("")) // a task that could not be read may be the one that is meant
            yield return new("no client has this task; give it the name that clients give as task.", path, "clients");
        if (spec.Labels is not { } labels) yield break;
        if (labels.Count < 2)
        {
            yield return new(
                $"{(labels.Count == 0 ? "no label leaves" : "one label leaves")} nothing to choose; give two or more, or remove the key.",
                $"{path}.labels");
        }

        foreach (var (first, second) in Alike(labels.Select(static label => (label.Name, label.Name))))
            yield return new($"\"{first}\" and \"{second}\" are one label: they differ in blanks alone; remove one.", $"{path}.labels");
        var answers = labels.SelectMany(static label =>
            (label.Answers.Count == 0 ? [label.Name] : label.Answers).Select(answer => (label.Name, answer)));
        foreach (var (first, second) in Alike(answers).Where(static pair => Plain(pair.First) != Plain(pair.Second)))
            yield return new($"\"{first}\" and \"{second}\" share an answer; give each label answers of its own.", $"{path}.labels");
    }

    // Of each text but the first of its spelling: the label of that first, and its own.
    private static IEnumerable<(string First, string Second)> Alike(IEnumerable<(string Label, string Text)> texts)
    {
        var seen = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var (label, text) in texts)
        {
            if (!seen.TryAdd(Plain(text), label)) yield return (seen[Plain(text)], label);
        }
    }

    private static string Plain(string text) => string.Join(' ', text.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries));
}
