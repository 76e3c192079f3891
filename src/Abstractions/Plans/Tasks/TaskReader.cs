using FedRLora.Abstractions.Plans.Reading;

namespace FedRLora.Abstractions.Plans;

/// <summary><c>tasks</c>: a section for each task, whose name is the key.</summary>
internal static class TaskReader
{
    public static IReadOnlyDictionary<string, TaskSpec> Read(PlanSection plan)
    {
        var specs = new Dictionary<string, TaskSpec>(StringComparer.Ordinal);
        var tasks = plan.Section("tasks");
        foreach (var name in tasks?.Keys ?? [])
        {
            if (tasks!.Section(name, null, Task) is { } task)
                specs.Add(name, task);
        }

        return specs;
    }

    private static TaskSpec? Task(PlanSection task) => new() { Labels = task.Labels("labels") };
}
