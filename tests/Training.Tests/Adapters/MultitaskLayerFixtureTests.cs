using System.Text.Json;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Adapters;
using FedRLora.Training.Models;
using FedRLora.Training.Models.Weights;
using FedRLora.Training.Steps;
using TorchSharp;
using Xunit.Abstractions;
using static TorchSharp.torch;

namespace FedRLora.Training.Tests.Adapters;

/// <summary>Parity with the authors' layers of R-LoRA and HydraLoRA, 1e-5 relative.</summary>
public sealed class MultitaskLayerFixtureTests(ITestOutputHelper output)
{
    private const string Module = "layer";

    public static TheoryData<string> Routed => Fixtures.Of("layer/routed");

    public static TheoryData<string> DrawnAgain => Fixtures.Of("layer/drawn-again");

    [SharedTheory, MemberData(nameof(Routed))]
    public void Output_gradients_and_a_step_of_members_side_by_side_match_the_reference(string place)
    {
        using var scope = NewDisposeScope();
        var (file, spec) = Open(place);
        using var closes = file;
        var (layout, values) = Given(file, spec, "param.");
        using var frame = new FramedLayer(
            Enumerable.Repeat(new ClientAdapter(layout, values, null), Members).ToList(), Frozen(file, layout, "param.weight"));
        var optimizer = new AdamW(
            frame.Stack, new TrainingSpec { WeightDecay = 0.01, ClipNorm = 0 }, Enumerable.Repeat(AdapterState.Empty, Members).ToList());

        var trained = frame.Run(Ragged(file, "input"), Ragged(file, "output_cotangent"));

        AssertRows(file, "output", [.. trained.Select(static member => member.Output)]);
        AssertRows(file, "input_grad", [.. trained.Select(static member => member.InputGradient)]);
        foreach (var info in layout.Tensors) AssertEach(
            member => Compare(
                Reference(file, info.Role.Name, "grad."), frame.Stack.GradientOf(member, info.Name)!, "gradient of " + info.Name));
        optimizer.Step([.. Enumerable.Repeat(0.01, Members)]);
        foreach (var info in layout.Tensors)
        {
            AssertEach(member => Compare(
                Reference(file, info.Role.Name, "after_adamw_step."),
                frame.Stack.Member(member).Parameters.Single(parameter => parameter.Info == info).Value, info.Name + " after the step"));
        }

        var after = frame.Run(Ragged(file, "input"), Ragged(file, "output_cotangent"));
        AssertEach(member => Compare(Ragged(file, "output_after_step")[member], after[member].Output, "output_after_step"));
    }

    [SharedTheory, MemberData(nameof(DrawnAgain))]
    public void Frozen_twins_give_what_the_authors_subtract_from_the_weight(string place)
    {
        using var scope = NewDisposeScope();
        var (file, spec) = Open(place);
        using var closes = file;
        var input = Read(file, "input");

        // With live heads at zero, an anchored mean of the heads is the frozen layer after the authors' subtraction.
        var anchored = spec with { Routing = new Routing.Mean(), Start = Start.Anchored };
        var (a, b) = (Read(file, "param.lora_A.weight"), Reference(file, Roles.B, "param."));
        var shape = Shape(file, "weight_before");
        var layer = new OneLayer(anchored, shape, role => role == Roles.A ? a : zeros_like(b), role => role == Roles.A ? a : b);
        var frozen = nn.functional.linear(input, Read(file, "weight_before"));
        Compare(nn.functional.linear(input, Read(file, "weight_after")), layer.Forward(input, frozen, null), "frozen layer with twins");

        var routed = new OneLayer(spec, shape, role => Reference(file, role, "param."));
        Compare(file, "output_after", routed.Forward(input, nn.functional.linear(input, Read(file, "weight_after")), null));
    }

    // Two members have all rows, one has the first half of them.
    private const int Members = 3;

    private static List<Tensor> Ragged(SafetensorsFile file, string name)
    {
        var all = Read(file, name);
        all = all.reshape(-1, all.shape[^1]);
        return [all, all.narrow(0, 0, (all.shape[0] + 1) / 2), all];
    }

    private static void AssertEach(Action<int> whole)
    {
        whole(0);
        whole(2);
    }

    private void AssertRows(SafetensorsFile file, string name, IReadOnlyList<Tensor> members)
    {
        foreach (var (expected, actual) in Ragged(file, name).Zip(members)) Compare(expected, actual, name);
    }

    private static FrozenLinear Frozen(SafetensorsFile file, AdapterLayout layout, string weight) =>
        new(layout.Targets[0].Layer, Read(file, weight), file.Header.Tensors.ContainsKey("param.bias") ? Read(file, "param.bias") : null);

    private static (SafetensorsFile File, AdapterSpec Spec) Open(string place)
    {
        var (folder, name) = Fixtures.Split(place);
        var settings = JsonDocument.Parse(File.ReadAllText(SharedFolder.Of(folder, "expected.json"))).RootElement.GetProperty(name);
        var overRoot = settings.TryGetProperty("config", out var config) && config.GetProperty("rank_stablization").GetBoolean();
        var spec = new AdapterSpec
        {
            Rank = settings.GetProperty("r")
                .GetInt32(), Heads = settings.GetProperty("heads").GetInt32(), Alpha = settings.GetProperty("lora_alpha").GetDouble(),
            Scaling = overRoot ? Scaling.AlphaOverSqrtRank : Scaling.AlphaOverRank, Routing = new Routing.Softmax(), Dropout = Dropout.None,
        };
        Assert.Equal(settings.GetProperty("scaling").GetDouble(), spec.ScalingFactor, 12);
        return (SafetensorsFile.Open(SharedFolder.Of(folder, name + ".safetensors")), spec);
    }

    private static (AdapterLayout Layout, AdapterState Values) Given(SafetensorsFile file, AdapterSpec spec, string prefix)
    {
        var layout = AdapterLayout.For(
            spec, [Shape(file, prefix + (file.Header.Tensors.ContainsKey("param.weight") ? "weight" : "lora_B0.weight"))]);
        return (layout, new AdapterState(layout.Tensors.Select(info =>
            KeyValuePair.Create(info.Name, new NamedArray(info.Shape, TensorData.Values(Reference(file, info.Role.Name, prefix)))))));
    }

    private static LinearShape Shape(SafetensorsFile file, string weight) =>
        new(Module, (int)file.Describe("param.lora_A.weight").Shape[1], (int)file.Describe(weight).Shape[0]);

    private static Tensor Read(SafetensorsFile file, string name) => tensor(file.ReadFloat32(name), [.. file.Describe(name).Shape]);

    private static Tensor Reference(SafetensorsFile file, string role, string prefix) => role switch
    {
        Roles.A => Read(file, prefix + "lora_A.weight"),
        Roles.B => stack(
            [
                .. Enumerable.Range(0, file.Header.Tensors.Count).Select(head => $"{prefix}lora_B{head}.weight")
                    .TakeWhile(file.Header.Tensors.ContainsKey).Select(key => Read(file, key)),
            ]),
        _ => Read(file, prefix + "lora_route.weight"),
    };

    private void Compare(SafetensorsFile file, string name, Tensor actual) => Compare(Read(file, name), actual, name);

    // 1e-5 of the tensor's largest element: an element that cancels to near zero has no relative accuracy of its own.
    private void Compare(Tensor reference, Tensor actual, string what)
    {
        var expected = TensorData.Values(reference);
        var largest = expected.Max(Math.Abs);
        output.WriteLine($"{what}: {Close.Assert(expected, TensorData.Values(actual), what, 1e-5 * largest, 0) / largest:E2}");
    }
}
