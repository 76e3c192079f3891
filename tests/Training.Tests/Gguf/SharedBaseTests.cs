using FedRLora.Abstractions.Plans;
using FedRLora.Training.Adapters;
using FedRLora.Training.Lanes;
using FedRLora.Training.Models;
using FedRLora.Training.Steps;
using FedRLora.Training.Tests.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training.Tests.Gguf;

/// <summary>One base that many threads compute with at once.</summary>
public sealed class SharedBaseTests
{
    private const int Threads = 8;

    public static TheoryData<string> Files => GgufFixtures.Models;

    [SharedTheory, MemberData(nameof(Files))]
    public async Task Eight_threads_at_once_have_the_numbers_that_each_has_alone(string name)
    {
        using var model = ModelRegistry.Load(GgufFixtures.Of(name, ".gguf"), CPU);
        using var quantized = ModelRegistry.Load(GgufFixtures.Of(name, ".gguf"), CPU, WeightStorage.Nf4);
        foreach (var shared in (CausalLanguageModel[])[model, quantized])
        {
            var alone = await OnThread(() => Enumerable.Range(0, Threads).Select(member => Numbers(shared, member)).ToList());
            using var together = new Barrier(Threads);

            var all = await Task.WhenAll(Enumerable.Range(0, Threads).Select(member => OnThread(() =>
            {
                together.SignalAndWait();
                return Enumerable.Range(0, 3).Select(_ => Numbers(shared, member)).ToList();
            })));

            foreach (var (member, each) in all.Index()) Assert.All(each, numbers => Assert.Equal(alone[member], numbers));
        }
    }

    // One of its own, whose products have one thread, as a lane's have.
    private static Task<T> OnThread<T>(Func<T> work) => Task.Factory.StartNew(
        () =>
        {
            ThreadCount.Use(1);
            return work();
        },
        CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);

    // Logits, loss and gradients.
    private static float[] Numbers(CausalLanguageModel model, int member)
    {
        using var scope = NewDisposeScope();
        var layout = StackedMembers.LayoutOf(TinyFederation.TinyCatalogue("lora") with { Dropout = Dropout.None }, model);
        using var members = new StackedMembers(layout, model, [member]);
        using var workspace = new Workspace(CPU, ScalarType.Float32);
        var row = StackedMembers.Row(5 + member);
        var loss = PackedLoss.Gradients(model, Packing.Of([[row]], CPU), members.Stack.Slice(0, 1), workspace);
        using var inference = no_grad();
        var ids = TinyLlama.Ids([.. row.Ids.Select(static id => (long)id)]);
        var logits = model.LogitsOf(model.Hidden(ids, null, null), null);
        return [.. TensorData.Values(loss), .. TensorData.Values(logits), .. GroupProofs.Gradients(members.Stack)];
    }
}
