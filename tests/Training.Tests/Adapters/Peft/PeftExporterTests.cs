using System.Text.Json;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Adapters.Peft;
using FedRLora.Training.Models;
using TorchSharp;

namespace FedRLora.Training.Tests.Adapters.Peft;

public sealed class PeftExporterTests : IDisposable
{
    private readonly TinyFederation _tiny = new();

    public void Dispose() => _tiny.Dispose();

    [Fact]
    public async Task A_client_before_its_first_round_exports_the_zero_change_with_its_twins_as_extra_rank()
    {
        var exported = await ExportAsync(TinyFederation.TinyCatalogue("m-lora") with { TargetModules = ["v_proj"] });
        using var config = JsonDocument.Parse(exported.ConfigJson);
        var root = config.RootElement;
        string? Text(string name) => root.GetProperty(name).GetString();

        // s = 6 / sqrt(4) = 3 at rank 2 * 4.
        Assert.Equal((8, 24), (root.GetProperty("r").GetInt32(), root.GetProperty("lora_alpha").GetInt32()));
        Assert.Equal(
            ("LORA", "CAUSAL_LM", "none", Path.Combine(_tiny.Root, "model")),
            (Text("peft_type"), Text("task_type"), Text("bias"), Text("base_model_name_or_path")));
        Assert.Equal(
            "[\"v_proj\"]",
            root.GetProperty("target_modules").GetRawText()
                .Replace("\n", "", StringComparison.Ordinal).Replace(" ", "", StringComparison.Ordinal));
        Assert.Equal("0.21.2", root.GetProperty("peft_version").GetString());
        Assert.False(root.GetProperty("use_rslora").GetBoolean());
        Assert.Equal(4, exported.Tensors.Count);
        Assert.Equal([8, 16], exported.Tensors["base_model.model.model.layers.0.self_attn.v_proj.lora_A.weight"].Shape);
        Assert.Equal([12, 8], exported.Tensors["base_model.model.model.layers.0.self_attn.v_proj.lora_B.weight"].Shape);
    }

    [Fact]
    public async Task A_scaling_that_is_no_whole_number_survives()
    {
        using var config = JsonDocument.Parse(
            (await ExportAsync(TinyFederation.TinyCatalogue("m-lora") with { Rank = 3, Alpha = 5 })).ConfigJson);
        Assert.Equal(5 / Math.Sqrt(3), config.RootElement.GetProperty("lora_alpha").GetDouble() / 6, 1e-15);
    }

    [Fact]
    public async Task A_router_has_no_static_form()
    {
        var message = (await Assert.ThrowsAsync<BadInputException>(() => ExportAsync(TinyFederation.TinyCatalogue("r-lora")))).Message;
        Assert.Contains("weighs heads by the input (routing softmax)", message, StringComparison.Ordinal);
    }

    public static TheoryData<string> StaticMethods =>
        [.. AdapterCatalog.Methods.Where(static entry => entry.Value.Spec.IsStatic).Select(static entry => entry.Key)];

    [Theory, MemberData(nameof(StaticMethods))]
    public void Equal_values_export_the_same_bytes_whoever_owns_the_tensors(string method)
    {
        // A task of the client's name, so that draws for each client and each task are the same.
        var ofTask = TinyFederation.TinyCatalogue(method).WithEach(static tensor => tensor.Scope == Scope.Seed ? tensor
            : tensor with { Scope = Scope.Task, Seed = tensor.Seed == SeedPolicy.PerClient ? SeedPolicy.PerTask : tensor.Seed });
        var own = ofTask.WithEach(static tensor => tensor.Scope == Scope.Seed ? tensor : tensor with { Scope = Scope.Client });
        var (plan, exporter) = (_tiny.Plan(ofTask), new PeftExporter(_tiny.Root));
        using var model = ModelRegistry.Load(Path.Combine(_tiny.Root, "model"), torch.CPU, torch.ScalarType.Float32);
        var layout = StackedMembers.LayoutOf(ofTask, model);
        var values = layout.Initial(11, plan.Clients[0], static tensor => tensor.Scope == Scope.Task);
        var constants = layout.InitialShared(11);

        var expected = exporter.Export(_tiny.Plan(own), 1, plan.Clients[0], constants, values);
        var actual = exporter.Export(plan, 1, plan.Clients[0], new([.. constants, .. values]), AdapterState.Empty);

        Assert.Equal(expected.ConfigJson, actual.ConfigJson);
        Assert.Equal(Bytes(expected.Tensors), Bytes(actual.Tensors));
        Assert.StartsWith("state of task one: tensor ", Refused(AdapterState.Empty), StringComparison.Ordinal);
        Assert.StartsWith("state of task one: tensor ", Refused(new(values.Skip(1))), StringComparison.Ordinal);

        string Refused(AdapterState shared) =>
            Assert.Throws<BadInputException>(
                () => exporter.Export(plan, 1, plan.Clients[0], new([.. constants, .. shared]), AdapterState.Empty)).Message;

        static byte[] Bytes(AdapterState state)
        {
            using var stream = new MemoryStream();
            SafetensorsCodec.Write(state, new Dictionary<string, string>(), stream);
            return stream.ToArray();
        }
    }

    private async Task<Abstractions.Ports.ExportedAdapter> ExportAsync(AdapterSpec spec)
    {
        using var trainer = _tiny.Trainer();
        var plan = _tiny.Plan(spec);
        return new PeftExporter(_tiny.Root).Export(plan, 1, plan.Clients[0], await trainer.InitialSharedAsync(plan), head: null);
    }
}
