using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Adapters;
using FedRLora.Training.Adapters.Peft;
using FedRLora.Training.Data;
using FedRLora.Training.Models;
using FedRLora.Training.Steps;
using FedRLora.Training.Tests.Models;
using TorchSharp;
using Xunit.Abstractions;
using static TorchSharp.torch;

namespace FedRLora.Training.Tests.Adapters.Peft;

/// <summary>Parity with PEFT: logits, gradients and AdamW steps; tolerances are those of the fixtures' README.</summary>
public sealed class PeftFixtureTests(ITestOutputHelper output)
{
    public static TheoryData<string> Folders => Fixtures.Of("adapter/*");

    [SharedTheory, MemberData(nameof(Folders))]
    public void Logits_gradients_and_steps_match_the_reference(string folder)
    {
        var modelFolder = Path.GetDirectoryName(folder)!;
        using var model = ModelRegistry.Load(SharedFolder.Of(modelFolder), CPU, ScalarType.Float32);
        using var io = SafetensorsFile.Open(SharedFolder.Of(modelFolder, "io.safetensors"));
        using var expected = SafetensorsFile.Open(SharedFolder.Of(folder, "io.safetensors"));
        AssertSteps(model, io, SharedFolder.Of(folder), expected, SettingsOf(folder, expected), output);
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
        // The norm of a decomposed weight carries no gradient, so only its magnitudes have the slope.
        var isDecomposed = adapter.Layout.Spec.Decomposed;
        foreach (var (info, value) in adapter.Parameters.Where(parameter => !isDecomposed || parameter.Info.Role.Name == Roles.Magnitude))
        {
            // Along the gradient itself the slope is its norm.
            var (gradient, moved) = (value.grad!, value.detach());
            var norm = gradient.norm().item<float>();
            var length = Math.Min(0.01f, 0.02f / norm); // short where the loss bends
            var step = gradient * Living.Of(length / norm);
            moved.add_(step, Living.One);
            var high = At().item<float>();
            moved.sub_(step).sub_(step);
            var low = At().item<float>();
            moved.add_(step, Living.One);
            Close.AssertRelative((high - low) / (2 * length), norm, info.Name, 5e-3);
        }
    }

    [SharedTheory, MemberData(nameof(Folders))]
    public void The_merged_model_is_what_PEFT_merges(string folder)
    {
        using var scope = NewDisposeScope();
        using var inference = no_grad();
        using var target = new TemporaryFolder();
        var modelFolder = SharedFolder.Of(Path.GetDirectoryName(folder)!);
        using var io = SafetensorsFile.Open(Path.Combine(modelFolder, "io.safetensors"));
        using var expected = SafetensorsFile.Open(SharedFolder.Of(folder, "io.safetensors"));

        MergedModel.Write(modelFolder, SharedFolder.Of(folder), target.File("merged"));

        using var weights = SafetensorsFile.Open(target.File("merged/model.safetensors"));
        foreach (var name in expected.Header.Tensors.Keys.Where(static name => name.StartsWith("merged_weight.", StringComparison.Ordinal)))
            Close.Assert(expected.ReadFloat32(name), weights.ReadFloat32(name["merged_weight.".Length..]), name, 1e-5, 1e-5);
        using var model = ModelRegistry.Load(target.File("merged"), CPU, ScalarType.Float32);
        var mask = ModelFixtureTests.Int64(io, "attention_mask");
        var logits = model.LogitsOf(model.Hidden(ModelFixtureTests.Int64(io, "input_ids"), mask, null), null);
        var reference = tensor(expected.ReadFloat32("merged_logits"), logits.shape);
        output.WriteLine($"merged logits: {Close.Assert(Real(reference, mask), Real(logits, mask), "merged logits"):E2}");
    }

    [SharedTheory, MemberData(nameof(Folders))]
    public async Task An_adapter_that_a_plan_starts_from_is_exported_as_it_was(string folder)
    {
        var plan = PlanReader.Require($$"""
            name: given
            model: {{SharedFolder.Of(Path.GetDirectoryName(folder)!)}}
            adapter: { from: {{SharedFolder.Of(folder)}}, scopeB: job }
            clients: [{ id: one, task: one, data: { train: rows.jsonl } }]
            """, "plan.yaml");
        // A fixture has no tokenizer, so the first shared state is asked for without the trainer.
        var (given, layers) = (PeftAdapter.Read(SharedFolder.Of(folder)), FrozenBase.LayersOf(plan.Model.Path));
        var shared = given.On(layers, plan.Adapter, new AdapterStart(given.Tensors, null))
            .Initial(plan.Seed, null, static tensor => tensor.Scope == Scope.Job);

        var exported = await Task.Run(() => new PeftExporter(".").Export(plan, 1, plan.Clients[0], shared, head: null));

        using var original = SafetensorsFile.Open(SharedFolder.Of(folder, "adapter_model.safetensors"));
        Assert.Equal(original.Header.Tensors.Keys.Order(StringComparer.Ordinal), exported.Tensors.Keys);
        Assert.All(exported.Tensors, entry =>
        {
            Assert.Equal(original.Describe(entry.Key).Shape, entry.Value.Shape);
            Assert.Equal(original.ReadFloat32(entry.Key), entry.Value.Data);
        });
        Assert.True(
            JsonNode.DeepEquals(
                JsonNode.Parse(File.ReadAllText(SharedFolder.Of(folder, "adapter_config.json"))), JsonNode.Parse(exported.ConfigJson)));
    }

    /// <summary>Logits, gradients by autograd and as training computes them, and three steps of AdamW.</summary>
    /// <param name="model">The frozen base, stored in any way.</param>
    /// <param name="io">Its input.</param>
    /// <param name="adapterFolder">PEFT's.</param>
    /// <param name="expected">The adapter's numbers.</param>
    /// <param name="settings">Losses of the steps.</param>
    /// <param name="output">Gets the differences.</param>
    internal static void AssertSteps(
        CausalLanguageModel model, SafetensorsFile io, string adapterFolder, SafetensorsFile expected, JsonElement settings,
        ITestOutputHelper output)
    {
        using var scope = NewDisposeScope();
        var peft = PeftAdapter.Read(adapterFolder);
        peft.CheckBase(model);
        var stack = new AdapterStack([new(peft.On(model.AdaptableLayers), peft.Tensors, null)], masks: null, CPU, model);
        var adapter = StackLeaves.Of(stack, 0);
        using var pass = AdapterPass.Evaluating(adapter, model);
        using var workspace = new Workspace(CPU, ScalarType.Float32);
        Tensor Int64(string name) => ModelFixtureTests.Int64(io, name);
        var (ids, mask, labels) = (Int64("input_ids"), Int64("attention_mask"), Int64("labels"));
        var losses = settings.GetProperty("losses_before_step_1_2_3_and_after").EnumerateArray()
            .Select(static loss => loss.GetDouble()).ToList();
        var optimizer = new AdamW(stack, new TrainingSpec { WeightDecay = 0.01, ClipNorm = 0 }, [AdapterState.Empty]);
        var rows = RowsOf(ids, mask, labels);
        // Nothing that the reference trains is passed over.
        Assert.Equal(Names(expected, "grad."), adapter.Parameters.Select(Saved).Order(StringComparer.Ordinal));

        for (var step = 1; step <= 3; step++)
        {
            using var stepScope = NewDisposeScope();
            var logits = model.LogitsOf(model.Hidden(ids, mask, pass), pass);
            var loss = Loss(logits, labels);
            Close.AssertRelative(losses[step - 1], loss.item<float>(), $"loss before step {step}", 2e-5);
            stack.ZeroGradients();
            loss.backward(); // by autograd, and then as training does it
            var automatic = adapter.Parameters.Where(static parameter => parameter.Info.Trains)
                .Select(static parameter => parameter.Value.grad!.clone()).ToList();
            var furthest = step > 1 ? 0 : adapter.Parameters.Max(parameter => Gradient(expected, parameter));
            if (step == 1) output.WriteLine($"gradients by autograd, of the largest: {furthest:E2}");
            stack.ZeroGradients();
            var packed = PackedLoss.Gradients(model, Packing.Of([rows], CPU), stack.Slice(0, 1), workspace);
            Close.AssertRelative(losses[step - 1], packed[0].item<float>(), $"packed loss before step {step}", 2e-5);
            foreach (var (parameter, gradient) in adapter.Parameters.Where(static parameter => parameter.Info.Trains).Zip(automatic))
                Assert.True(
                    (parameter.Value.grad! - gradient).norm().item<float>() <= 1e-5 * gradient.norm().item<float>(), parameter.Info.Name);
            if (step == 1)
            {
                var reference = tensor(expected.ReadFloat32("logits"), logits.shape);
                output.WriteLine($"logits: {Close.Assert(Real(reference, mask), Real(logits, mask), "logits"):E2}");
                output.WriteLine($"gradients, of the largest: {adapter.Parameters.Max(parameter => Gradient(expected, parameter)):E2}");
            }

            optimizer.Step([0.01]);
            if (step != 2) output.WriteLine($"after step {step}: {After(expected, adapter, step)}");
        }

        var last = Loss(model.LogitsOf(model.Hidden(ids, mask, pass), pass), labels);
        Close.AssertRelative(losses[3], last.item<float>(), "loss after step 3", 2e-5);
    }

    internal static (PlacedAdapter Adapter, AdapterPass Pass) Load(string folder, CausalLanguageModel model)
    {
        var peft = PeftAdapter.Read(SharedFolder.Of(folder));
        peft.CheckBase(model);
        var adapter = PlacedAdapter.Create(new(peft.On(model.AdaptableLayers), peft.Tensors, null), CPU);
        foreach (var parameter in adapter.Parameters) parameter.Value.requires_grad_();
        return (adapter, AdapterPass.Evaluating(adapter, model));
    }

    // What the model's expected.json says of the adapter: by the folder's name, and under another by the largest gradient.
    private static JsonElement SettingsOf(string folder, SafetensorsFile expected)
    {
        var adapters = JsonDocument.Parse(
            File.ReadAllText(SharedFolder.Of(Path.GetDirectoryName(folder)!, "expected.json"))).RootElement.GetProperty("adapters");
        if (adapters.TryGetProperty(Path.GetFileName(folder), out var named)) return named;
        var largest = Names(expected, "grad.").Max(name => expected.ReadFloat32("grad." + name).Max(Math.Abs));
        return adapters.EnumerateObject().MinBy(entry => Math.Abs(entry.Value.GetProperty("max_abs_grad").GetDouble() - largest)).Value;
    }

    internal static List<EncodedRow> RowsOf(Tensor ids, Tensor mask, Tensor labels) =>
        [.. Enumerable.Range(0, (int)ids.shape[0]).Select(row =>
    {
        var length = (int)mask[row].sum().item<long>();
        var learned = labels[row].data<long>().ToArray();
        return new EncodedRow(
            [.. ids[row].data<long>().Take(length).Select(static id => (int)id)],
            [
                .. Enumerable.Range(1, length - 1).Where(place => learned[place] != -100)
                    .Select(static place => new LossSpan(place, place + 1)),
            ]);
    })];

    private static float[] Real(Tensor values, Tensor mask) =>
        TensorData.Values(values.detach().reshape(-1, values.shape[^1])[mask.to(ScalarType.Bool).reshape(-1)]);

    private static Tensor Loss(Tensor logits, Tensor labels) => nn.functional.cross_entropy(
        logits.narrow(1, 0, logits.shape[1] - 1).reshape(-1, logits.shape[2]), labels.narrow(1, 1, logits.shape[1] - 1).reshape(-1));

    private static string Saved(AdapterParameter parameter) => PeftNames.Of(parameter.Info.Target, parameter.Info.Role.Name);

    private static IEnumerable<string> Names(SafetensorsFile file, string prefix) =>
        file.Header.Tensors.Keys.Where(key => key.StartsWith(prefix, StringComparison.Ordinal))
            .Select(key => key[prefix.Length..]).Order(StringComparer.Ordinal);

    private static double Gradient(SafetensorsFile expected, AdapterParameter parameter)
    {
        var reference = expected.ReadFloat32("grad." + Saved(parameter));
        var largest = reference.Max(Math.Abs);
        return Close.Assert(
            reference, TensorData.Values(parameter.Value.grad!), "gradient of " + parameter.Info.Name, 1e-4 * largest, 0) / largest;
    }

    // Early Adam steps are sign-like: an element with a gradient near 0 may move the other way.
    private static string After(SafetensorsFile expected, PlacedAdapter adapter, int step) =>
        string.Create(CultureInfo.InvariantCulture, $"{adapter.Parameters.Max(parameter =>
    {
        var name = $"after_step_{step}.{Saved(parameter)}";
        var differences = expected.ReadFloat32(name)
            .Zip(TensorData.Values(parameter.Value), static (reference, value) => Math.Abs(reference - value)).Order().ToList();
        var within = (double)differences.Count(static difference => difference <= 5e-4) / differences.Count;
        Assert.True(within >= 0.999, $"{name}: only {within:P2} of the elements are within 5e-4");
        return differences[^1];
    }):E2} at most");
}
