using System.Text.Json;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Adapters;
using FedRLora.Training.Models;
using FedRLora.Training.Tests.Models;
using TorchSharp;
using Xunit.Abstractions;
using static TorchSharp.torch;

namespace FedRLora.Training.Tests.Adapters;

/// <summary>Parity with PEFT: logits, gradients and AdamW steps; tolerances are those of the fixtures' README.</summary>
/// <remarks>
/// The reference's snapshots share memory with the live tensors: in every adapter folder <c>after_step_1.*</c> holds the same numbers
/// as <c>after_step_3.*</c>, and <c>grad.*</c> is the gradient of the third step. They are compared with what they are; the losses
/// before each step, which are right, pin the steps between, and a finite difference pins the first gradient.
/// </remarks>
public sealed class PeftFixtureTests(ITestOutputHelper output)
{
    public static TheoryData<string> Folders => NotYet.Without(Fixtures.Adapters);

    [SharedTheory, MemberData(nameof(Folders))]
    public void Logits_gradients_and_steps_match_the_reference(string folder)
    {
        using var scope = NewDisposeScope();
        var modelFolder = Path.GetDirectoryName(folder)!;
        using var model = ModelRegistry.Load(SharedFolder.Of(modelFolder), CPU, ScalarType.Float32);
        using var io = SafetensorsFile.Open(SharedFolder.Of(modelFolder, "io.safetensors"));
        using var expected = SafetensorsFile.Open(SharedFolder.Of(folder, "io.safetensors"));
        var (adapter, pass) = Load(folder, model);
        var (ids, mask, labels) = (ModelFixtureTests.Int64(io, "input_ids"), ModelFixtureTests.Int64(io, "attention_mask"), ModelFixtureTests.Int64(io, "labels"));
        var settings = JsonDocument.Parse(File.ReadAllText(SharedFolder.Of(modelFolder, "expected.json"))).RootElement.GetProperty("adapters").GetProperty(Path.GetFileName(folder));
        var losses = settings.GetProperty("losses_before_step_1_2_3_and_after").EnumerateArray().Select(static loss => loss.GetDouble()).ToList();
        var optimizer = new AdamW(adapter, new TrainingSpec { WeightDecay = 0.01, ClipNorm = 0 }, AdapterState.Empty);

        for (var step = 1; step <= 3; step++)
        {
            using var stepScope = NewDisposeScope();
            var logits = model.LogitsOf(model.Hidden(ids, mask, pass), pass);
            var loss = Loss(logits, labels);
            Close.AssertRelative(losses[step - 1], loss.item<float>(), $"loss before step {step}", 2e-5);
            optimizer.ZeroGradients();
            loss.backward();
            if (step == 1)
            {
                var real = mask.to(ScalarType.Bool).reshape(-1);
                float[] Real(Tensor values) => LowRankAdapter.Values(values.detach().reshape(-1, values.shape[^1])[real]);
                output.WriteLine($"logits: {Close.Assert(Real(tensor(expected.ReadFloat32("logits"), logits.shape)), Real(logits), "logits"):E2}");
            }

            if (step == 3) output.WriteLine($"gradients, of the largest: {adapter.Parameters.Max(parameter => Gradient(expected, parameter)):E2}");

            optimizer.Step(0.01);
        }

        output.WriteLine($"after step 3: {After(expected, adapter, 3)}");
        Assert.All(adapter.Parameters, parameter => Assert.Equal(expected.ReadFloat32("after_step_3." + Saved(parameter)), expected.ReadFloat32("after_step_1." + Saved(parameter))));

        var last = Loss(model.LogitsOf(model.Hidden(ids, mask, pass), pass), labels);
        Close.AssertRelative(losses[3], last.item<float>(), "loss after step 3", 2e-5);
    }

    [SharedTheory, MemberData(nameof(Folders))]
    public void The_first_gradient_is_the_slope_of_the_loss(string folder)
    {
        using var scope = NewDisposeScope();
        var modelFolder = Path.GetDirectoryName(folder)!;
        using var model = ModelRegistry.Load(SharedFolder.Of(modelFolder), CPU, ScalarType.Float32);
        using var io = SafetensorsFile.Open(SharedFolder.Of(modelFolder, "io.safetensors"));
        var (adapter, pass) = Load(folder, model);
        var (ids, labels) = (ModelFixtureTests.Int64(io, "input_ids"), ModelFixtureTests.Int64(io, "labels"));
        Tensor At() => Loss(model.LogitsOf(model.Hidden(ids, null, pass), pass), labels);
        At().backward();
        using var inference = no_grad();
        foreach (var (info, value) in adapter.Parameters)
        {
            // Along the gradient itself the slope is its norm.
            var (gradient, moved) = (value.grad!, value.detach());
            var norm = gradient.norm().item<float>();
            var step = gradient * (0.01f / norm);
            moved.add_(step);
            var high = At().item<float>();
            moved.sub_(step).sub_(step);
            var low = At().item<float>();
            moved.add_(step);
            Close.AssertRelative((high - low) / 0.02, norm, info.Name, 5e-3);
        }
    }

    [SharedTheory, MemberData(nameof(Folders))]
    public void The_product_added_to_the_weights_is_what_PEFT_merges(string folder)
    {
        var peft = PeftReader.Read(SharedFolder.Of(folder));
        using var expected = SafetensorsFile.Open(SharedFolder.Of(folder, "io.safetensors"));
        using var weights = SafetensorsFile.Open(SharedFolder.Of(Path.GetDirectoryName(folder)!, "model.safetensors"));
        var kinds = FrozenBase.LinearsOf(SharedFolder.Of(Path.GetDirectoryName(folder)!)).ToDictionary(static layer => layer.Module, static layer => layer.Kind);
        foreach (var module in peft.Spec.TargetModules)
        {
            using var scope = NewDisposeScope();
            Tensor Of(string name) => tensor(peft.Tensors[name].Data, [.. peft.Tensors[name].Shape]);
            var product = (float)peft.Spec.ScalingFactor * Of(module + ".B")[0].mm(Of(module + ".A"));
            var merged = tensor(weights.ReadFloat32(module + ".weight"), [.. weights.Describe(module + ".weight").Shape]) + (kinds[module] == LayerKind.Conv1D ? product.t() : product);
            Close.Assert(expected.ReadFloat32($"merged_weight.{module}.weight"), LowRankAdapter.Values(merged.contiguous()), module, 1e-6, 1e-6);
        }
    }

    internal static (LowRankAdapter Adapter, AdapterPass Pass) Load(string folder, CausalLanguageModel model)
    {
        var peft = PeftReader.Read(SharedFolder.Of(folder));
        var adapter = LowRankAdapter.Create(AdapterLayout.For(peft.Spec, model.Linears), peft.Tensors, null, 0, CPU);
        return (adapter, AdapterPass.Evaluating(adapter));
    }

    private static Tensor Loss(Tensor logits, Tensor labels) => nn.functional.cross_entropy(
        logits.narrow(1, 0, logits.shape[1] - 1).reshape(-1, logits.shape[2]), labels.narrow(1, 1, logits.shape[1] - 1).reshape(-1));

    private static string Saved(AdapterParameter parameter) => $"base_model.model.{parameter.Info.Target.Module}.lora_{parameter.Info.Factor}.weight";

    private static double Gradient(SafetensorsFile expected, AdapterParameter parameter)
    {
        var reference = expected.ReadFloat32("grad." + Saved(parameter));
        var largest = reference.Max(Math.Abs);
        return Close.Assert(reference, LowRankAdapter.Values(parameter.Value.grad!), "gradient of " + parameter.Info.Name, 1e-4 * largest, 0) / largest;
    }

    // Early Adam steps are sign-like: an element with a gradient near 0 may move the other way.
    private static string After(SafetensorsFile expected, LowRankAdapter adapter, int step)
    {
        var differences = adapter.Parameters.SelectMany(parameter => expected.ReadFloat32($"after_step_{step}.{Saved(parameter)}")
            .Zip(LowRankAdapter.Values(parameter.Value), static (reference, value) => Math.Abs(reference - value))).Order().ToList();
        var within = (double)differences.Count(static difference => difference <= 5e-4) / differences.Count;
        Assert.True(within >= 0.999, $"after step {step} only {within:P2} of the elements are within 5e-4");
        return $"{within:P2} within 5e-4, largest difference {differences[^1]:E2}";
    }
}
