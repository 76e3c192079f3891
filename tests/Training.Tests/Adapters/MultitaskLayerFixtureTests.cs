using System.Text.Json;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Adapters;
using FedRLora.Training.Models;
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
    public void Output_gradients_and_a_step_match_the_reference(string place)
    {
        using var scope = NewDisposeScope();
        var (file, spec) = Open(place);
        using var closes = file;
        var (layout, values) = Given(file, spec, "param.");
        var stack = new AdapterStack(layout, [new(values, null)], masks: null, CPU, model: null);
        var adapter = stack.Members[0];
        var optimizer = new AdamW(stack, new TrainingSpec { WeightDecay = 0.01, ClipNorm = 0 }, [AdapterState.Empty]);
        var input = Read(file, "input").requires_grad_();

        var y = Forward(adapter, file, input, "param.weight");
        Compare(file, "output", y);
        (y * Read(file, "output_cotangent")).sum().backward();
        Compare(file, "input_grad", input.grad!);
        foreach (var parameter in adapter.Parameters) Compare(Reference(file, parameter.Info.Role.Name, "grad."), parameter.Value.grad!, "gradient of " + parameter.Info.Name);
        optimizer.Step([0.01]);
        foreach (var parameter in adapter.Parameters) Compare(Reference(file, parameter.Info.Role.Name, "after_adamw_step."), parameter.Value, parameter.Info.Name + " after the step");
        Compare(file, "output_after_step", Forward(adapter, file, input, "param.weight"));
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
        var layer = new LowRankLayer(anchored, Shape(file, "weight_before"), a, zeros_like(b), null, (a, b));
        var frozen = nn.functional.linear(input, Read(file, "weight_before"));
        Compare(nn.functional.linear(input, Read(file, "weight_after")), layer.Forward(input, frozen, null), "frozen layer with twins");

        var y = Adapter(file, spec, "param.").Layers[Module].Forward(input, nn.functional.linear(input, Read(file, "weight_after")), null);
        Compare(file, "output_after", y);
    }

    private static (SafetensorsFile File, AdapterSpec Spec) Open(string place)
    {
        var (folder, name) = Fixtures.Split(place);
        var settings = JsonDocument.Parse(File.ReadAllText(SharedFolder.Of(folder, "expected.json"))).RootElement.GetProperty(name);
        var overRoot = settings.TryGetProperty("config", out var config) && config.GetProperty("rank_stablization").GetBoolean();
        var spec = new AdapterSpec
        {
            Rank = settings.GetProperty("r").GetInt32(), Heads = settings.GetProperty("heads").GetInt32(), Alpha = settings.GetProperty("lora_alpha").GetDouble(),
            Scaling = overRoot ? Scaling.AlphaOverSqrtRank : Scaling.AlphaOverRank, Routing = new Routing.Softmax(), Dropout = Dropout.None,
        };
        Assert.Equal(settings.GetProperty("scaling").GetDouble(), spec.ScalingFactor, 12);
        return (SafetensorsFile.Open(SharedFolder.Of(folder, name + ".safetensors")), spec);
    }

    private static LowRankAdapter Adapter(SafetensorsFile file, AdapterSpec spec, string prefix)
    {
        var (layout, values) = Given(file, spec, prefix);
        return LowRankAdapter.Create(layout, values, null, CPU);
    }

    private static (AdapterLayout Layout, AdapterState Values) Given(SafetensorsFile file, AdapterSpec spec, string prefix)
    {
        var layout = AdapterLayout.For(spec, [Shape(file, prefix + (file.Header.Tensors.ContainsKey("param.weight") ? "weight" : "lora_B0.weight"))]);
        return (layout, new AdapterState(layout.Tensors.Select(info =>
            KeyValuePair.Create(info.Name, new NamedArray(info.Shape, LowRankAdapter.Values(Reference(file, info.Role.Name, prefix)))))));
    }

    private static LinearShape Shape(SafetensorsFile file, string weight) =>
        new(Module, (int)file.Describe("param.lora_A.weight").Shape[1], (int)file.Describe(weight).Shape[0]);

    private static Tensor Forward(LowRankAdapter adapter, SafetensorsFile file, Tensor input, string weight) =>
        adapter.Layers[Module].Forward(input, nn.functional.linear(input, Read(file, weight), Read(file, "param.bias")), null);

    private static Tensor Read(SafetensorsFile file, string name) => tensor(file.ReadFloat32(name), [.. file.Describe(name).Shape]);

    private static Tensor Reference(SafetensorsFile file, string role, string prefix) => role switch
    {
        Roles.A => Read(file, prefix + "lora_A.weight"),
        Roles.B => stack([.. file.Header.Tensors.Keys.Where(key => key.StartsWith(prefix + "lora_B", StringComparison.Ordinal)).Order(StringComparer.Ordinal).Select(key => Read(file, key))]),
        _ => Read(file, prefix + "lora_route.weight"),
    };

    private void Compare(SafetensorsFile file, string name, Tensor actual) => Compare(Read(file, name), actual, name);

    // 1e-5 of the tensor's largest element: an element that cancels to near zero has no relative accuracy of its own.
    private void Compare(Tensor reference, Tensor actual, string what)
    {
        var expected = LowRankAdapter.Values(reference);
        var largest = expected.Max(Math.Abs);
        output.WriteLine($"{what}: {Close.Assert(expected, LowRankAdapter.Values(actual), what, 1e-5 * largest, 0) / largest:E2}");
    }
}
