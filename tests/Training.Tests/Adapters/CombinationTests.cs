using System.Text.Json;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Ports;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Adapters.Combination;
using FedRLora.Training.Adapters.Peft;
using Xunit.Abstractions;
using static TorchSharp.torch;

namespace FedRLora.Training.Tests.Adapters;

public sealed class CombinationTests(ITestOutputHelper output) : IDisposable
{
    private const string Module = "model.layers.0.self_attn.q_proj";
    private readonly TemporaryFolder _folder = new();

    public static TheoryData<string> Folders => Fixtures.Of("combination");

    public static TheoryData<string> Methods => [.. AdapterCombination.Methods];

    public void Dispose() => _folder.Dispose();

    [SharedTheory, MemberData(nameof(Folders))]
    public void Every_combination_is_that_of_PEFT(string folder)
    {
        using var scope = NewDisposeScope();
        using var file = SafetensorsFile.Open(SharedFolder.Of(folder, "tensors.safetensors"));
        var fixture = JsonDocument.Parse(File.ReadAllText(SharedFolder.Of(folder, "expected.json"))).RootElement;
        Assert.All(
            fixture.GetProperty("combinations").EnumerateObject(),
            entry => Compare(file, fixture.GetProperty("adapters"), entry.Name, entry.Value));
    }

    private void Compare(SafetensorsFile file, JsonElement given, string name, JsonElement entry)
    {
        var weights = entry.GetProperty("weights").EnumerateArray().Select(static weight => weight.GetDouble());
        var adapters = entry.GetProperty("adapters").EnumerateArray()
            .Select(adapter => FromFixture(file, adapter.GetString()!, given)).Zip(weights).ToList();

        var combined = Combine(adapters, new()
        {
            Method = entry.GetProperty("combination_type").GetString()!,
            Density = entry.TryGetProperty("density", out var density) ? density.GetDouble() : 0.5,
            Rank = entry.TryGetProperty("svd_rank", out var rank) ? rank.GetInt32() : null,
        });

        var deltas = file.Header.Tensors.Keys
            .Where(key => key.StartsWith(name + ".", StringComparison.Ordinal) && key.EndsWith(".delta", StringComparison.Ordinal))
            .ToList();
        Assert.NotEmpty(deltas);
        Assert.Equal(2 * deltas.Count, combined.Tensors.Count);
        foreach (var delta in deltas)
        {
            var module = delta[(name.Length + 1)..^".delta".Length];
            Compare(file, delta, LowRank(combined, module));
            foreach (var factor in (string[])["lora_A", "lora_B"])
            {
                if (file.Header.Tensors.ContainsKey($"{name}.{module}.{factor}"))
                    Compare(file, $"{name}.{module}.{factor}", combined.Tensors[$"base_model.model.{module}.{factor}.weight"].Data);
            }
        }

        using var config = JsonDocument.Parse(combined.ConfigJson);
        Assert.Equal(entry.GetProperty("r").GetInt32(), config.RootElement.GetProperty("r").GetInt32());
        Assert.Equal(
            entry.GetProperty("r").GetDouble() * entry.GetProperty("scaling").GetDouble(),
            config.RootElement.GetProperty("lora_alpha").GetDouble());
    }

    [Theory, MemberData(nameof(Methods))]
    public void One_adapter_with_weight_1_and_nothing_pruned_is_itself(string method)
    {
        using var scope = NewDisposeScope();
        var one = Adapter("one", 3, 6, 1);

        var combined = Combine([(one, 1)], new() { Method = method, Density = 1, Seed = 5 });

        Close.Assert([.. LowRankOf(one).Select(static value => 2 * value)], LowRank(combined, Module), method, 1e-5, 1e-5);
        Assert.Equal(3, PeftAdapter.Read(Save(combined)).Spec.Rank);
    }

    [Fact]
    public void Adapters_of_different_ranks_and_scalings_add_up_exactly_by_cat()
    {
        using var scope = NewDisposeScope();
        var (one, two) = (Adapter("one", 3, 6, 1), Adapter("two", 2, 5, 2));

        var combined = Combine([(one, 0.25), (two, -1)], new() { Method = "cat" });

        Close.Assert(
            [.. LowRankOf(one).Zip(LowRankOf(two), static (a, b) => 0.5f * a - 2.5f * b)], LowRank(combined, Module), "cat", 1e-5, 1e-5);
    }

    [Theory, MemberData(nameof(Methods))]
    public void A_negative_weight_takes_an_adapter_away(string method)
    {
        using var scope = NewDisposeScope();
        var one = Adapter("one", 3, 6, 1);

        var combined = Combine([(one, -0.5)], new() { Method = method, Density = 1, Seed = 5 });

        Close.Assert([.. LowRankOf(one).Select(static value => -value)], LowRank(combined, Module), method, 1e-5, 1e-5);
    }

    [Fact]
    public void The_factors_of_linear_are_weighed_by_roots_with_the_sign_on_A()
    {
        using var scope = NewDisposeScope();
        var (one, two) = (Adapter("one", 3, 6, 1), Adapter("two", 3, 12, 2)); // scalings 2 and 4

        var combined = Combine([(one, 0.5), (two, -0.25)], new() { Method = "linear" });

        float[] Data(string folder, string factor) => PeftAdapter.Read(folder).Tensors[$"{Module}.{factor}"].Data;
        float[] Of(string factor, float sign) => [.. Data(one, factor).Zip(Data(two, factor), (a, b) => a + (sign * b))];
        Close.Assert(Of("A", -1), combined.Tensors[$"base_model.model.{Module}.lora_A.weight"].Data, "A", 1e-6, 1e-6);
        Close.Assert(Of("B", 1), combined.Tensors[$"base_model.model.{Module}.lora_B.weight"].Data, "B", 1e-6, 1e-6);
    }

    [Fact]
    public void An_adapter_of_weight_0_adds_nothing()
    {
        using var scope = NewDisposeScope();
        var (one, two) = (Adapter("one", 3, 6, 1), Adapter("two", 3, 12, 2));

        var combined = Combine([(one, 1), (two, 0)], new() { Method = "linear" });

        Close.Assert([.. LowRankOf(one).Select(static value => 2 * value)], LowRank(combined, Module), "linear", 1e-5, 1e-5);
    }

    [Fact]
    public void Tensors_of_the_base_beside_the_adapters_are_kept_where_they_agree_and_refused_where_not()
    {
        using var scope = NewDisposeScope();
        const string Head = "base_model.model.lm_head.weight";
        string WithHead(string name, float value)
        {
            var folder = Adapter(name, 3, 6, 1);
            var tensors = SafetensorsCodec.Read(File.ReadAllBytes(Path.Combine(folder, "adapter_model.safetensors")), name);
            return Save(
                new(File.ReadAllText(Path.Combine(folder, "adapter_config.json")), new([.. tensors, new(Head, new([2], [1, value]))])),
                name);
        }

        var combined = Combine([(WithHead("one", 2), 1), (WithHead("two", 2), 1)], new());
        var refused = Assert.Throws<BadInputException>(() => Combine([(WithHead("one", 2), 1), (WithHead("two", 3), 1)], new()));

        Assert.Equal([1, 2], combined.Tensors[Head].Data);
        Assert.Contains($"two: tensor {Head} differs from that of ", refused.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Dare_draws_its_masks_from_the_seed()
    {
        using var scope = NewDisposeScope();
        var one = Adapter("one", 3, 6, 1);
        float[] Combined(ulong seed) =>
            Combine([(one, 1)], new() { Method = "dare_linear", Density = 0.5, Seed = seed })
                .Tensors[$"base_model.model.{Module}.lora_A.weight"].Data;

        Assert.Equal(Combined(1), Combined(1));
        Assert.NotEqual(Combined(1), Combined(2));
        var ratios = Combined(1)
            .Zip(PeftAdapter.Read(one).Tensors[Module + ".A"].Data, static (now, before) => now / before / Math.Sqrt(2)).ToList();
        Assert.All(ratios, static ratio => Assert.True(Math.Abs(ratio) < 1e-6 || Math.Abs(ratio - 2) < 1e-5, $"{ratio}"));
        Assert.Contains(ratios, static ratio => ratio == 0);
    }

    [Fact]
    public void What_does_not_go_together_is_refused_by_name()
    {
        using var scope = NewDisposeScope();
        var (one, two) = (Adapter("one", 3, 6, 1), Adapter("two", 2, 5, 2));
        string Refused(string method, double weight = 1, int? rank = null, double density = 0.5) =>
            Assert.Throws<BadInputException>(
                () => Combine([(one, 1), (two, weight)], new() { Method = method, Rank = rank, Density = density })).Message;

        Assert.Contains(
            $"{Module} has rank 2, in {one} it is 3; linear needs equal ranks, cat and svd do not", Refused("linear"),
            StringComparison.Ordinal);
        Assert.Contains("the weight is not a finite number", Refused("svd", double.NaN), StringComparison.Ordinal);
        Assert.Contains("rank 100 exceeds 10, the smaller side", Refused("svd", rank: 100), StringComparison.Ordinal);
        Assert.Contains("the ranks of cat follow from the adapters", Refused("cat", rank: 4), StringComparison.Ordinal);
        Assert.Contains("density is 0; give a number above 0", Refused("ties", density: 0), StringComparison.Ordinal);
        Assert.Contains("the method sum is not known; give one of cat, dare_linear", Refused("sum"), StringComparison.Ordinal);
    }

    // 1e-5 of the tensor's largest element: one that cancels to near zero has no relative accuracy of its own.
    private void Compare(SafetensorsFile file, string name, float[] actual)
    {
        var reference = file.ReadFloat32(name);
        var largest = reference.Max(Math.Abs);
        output.WriteLine($"{name}: {Close.Assert(reference, actual, name, 1e-5 * largest, 0) / largest:E2}");
    }

    private string FromFixture(SafetensorsFile file, string name, JsonElement given)
    {
        var settings = given.GetProperty(name);
        var tensors = file.Header.Tensors.Keys.Where(key => key.StartsWith(name + ".", StringComparison.Ordinal))
            .Select(key => KeyValuePair.Create(
                $"base_model.model.{key[(name.Length + 1)..]}.weight", new NamedArray(file.Describe(key).Shape, file.ReadFloat32(key))));
        var targets = file.Header.Tensors.Keys.Where(key => key.StartsWith(name + ".", StringComparison.Ordinal))
            .Select(static key => key.Split('.')[^2]).Distinct();
        var config = Config(settings.GetProperty("r").GetInt32(), settings.GetProperty("lora_alpha").GetInt32(), [.. targets]);
        return Save(new(config, new AdapterState(tensors)), name);
    }

    private string Adapter(string name, int rank, int alpha, ulong seed)
    {
        using var generator = new Generator(seed, CPU);
        float[] Draw(int count) => FedRLora.Training.Adapters.TensorData.Values(empty(count).normal_(0, 1, generator));
        return Save(new(Config(rank, alpha, "q_proj"), new AdapterState(
        [
            new($"base_model.model.{Module}.lora_A.weight", new([rank, 12], Draw(rank * 12))),
            new($"base_model.model.{Module}.lora_B.weight", new([10, rank], Draw(rank * 10))),
        ])), name);
    }

    private static string Config(int rank, int alpha, params string[] targets) =>
        JsonSerializer.Serialize(
            new Dictionary<string, object> { ["peft_type"] = "LORA", ["r"] = rank, ["lora_alpha"] = alpha, ["target_modules"] = targets });

    private string Save(ExportedAdapter adapter, string name = "saved")
    {
        var folder = Directory.CreateDirectory(_folder.File(name)).FullName;
        File.WriteAllText(Path.Combine(folder, "adapter_config.json"), adapter.ConfigJson);
        using var stream = File.Create(Path.Combine(folder, "adapter_model.safetensors"));
        SafetensorsCodec.Write(adapter.Tensors, new Dictionary<string, string>(), stream);
        return folder;
    }

    private static ExportedAdapter Combine(IReadOnlyList<(string Folder, double Weight)> adapters, CombinationOptions options) =>
        AdapterCombination.Combine(adapters, options).Adapter;

    private static float[] LowRank(ExportedAdapter adapter, string module) =>
        Product(adapter.Tensors[$"base_model.model.{module}.lora_A.weight"], adapter.Tensors[$"base_model.model.{module}.lora_B.weight"]);

    private static float[] LowRankOf(string folder)
    {
        var tensors = PeftAdapter.Read(folder).Tensors;
        return Product(tensors[Module + ".A"], tensors[Module + ".B"] with { Shape = [.. tensors[Module + ".B"].Shape.Skip(1)] });
    }

    private static float[] Product(NamedArray a, NamedArray b) =>
        FedRLora.Training.Adapters.TensorData.Values(tensor(b.Data, [.. b.Shape]).mm(tensor(a.Data, [.. a.Shape])));
}
