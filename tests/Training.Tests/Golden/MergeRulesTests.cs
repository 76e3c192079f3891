using FedRLora.Training.Adapters;
using FedRLora.Training.Adapters.Combination;
using static TorchSharp.torch;

namespace FedRLora.Training.Tests.Golden;

/// <summary>PEFT's merge rules on bare tensors.</summary>
public sealed class MergeRulesTests
{
    public static TheoryData<string> Folders => Fixtures.Of("method/peft/merge_utils");

    [SharedTheory, MemberData(nameof(Folders))]
    public void Task_arithmetic_pruning_TIES_and_DARE_are_those_of_PEFT(string folder)
    {
        using var scope = NewDisposeScope();
        using var numbers = new MethodNumbers(folder);
        var (density, count) = (numbers.Config.GetProperty("density").GetDouble(), numbers.Config.GetProperty("tasks").GetInt32());
        var weights = numbers.Config.GetProperty("weights").EnumerateArray().Select(static weight => weight.GetDouble()).ToList();
        var tasks = Enumerable.Range(0, count).Select(task => numbers.Tensor($"task.{task}")).ToList();
        // Masks are the reference's draws, so what follows the draw is compared.
        Tensor Mask(int task) => tensor(numbers.Bytes($"mask.{task}").ToArray(), tasks[task].shape, ScalarType.Byte);
        var drawn = tasks.Select((task, i) => task * Mask(i) / Living.Of((float)density)).ToList();
        ulong NoDraw(int task) => throw new InvalidOperationException("a draw");
        void Compare(string name, string rule, List<Tensor> tensors, double kept) =>
            numbers.CompareOutput(name, TensorData.Values(CombinationRules.ByName[rule](tensors, weights, kept, NoDraw)));

        Compare("task_arithmetic", "linear", tasks, 1);
        Compare("magnitude_prune", "magnitude_prune", tasks, density);
        Compare("ties_total", "ties", tasks, density);
        Compare("dare_linear", "linear", drawn, 1);
        Compare("dare_ties_total", "ties", drawn, 1);
        // The election by counts of signs (*_frequency) is not offered.
    }
}
