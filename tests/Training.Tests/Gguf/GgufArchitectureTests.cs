using FedRLora.Training.Gguf;
using FedRLora.Training.Gguf.Architectures;
using FedRLora.Training.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training.Tests.Gguf;

/// <summary>What the metadata and tensors of a GGUF file are in Hugging Face's words.</summary>
public sealed class GgufArchitectureTests
{
    public static TheoryData<string> Models => GgufFixtures.Models;

    [SharedTheory, MemberData(nameof(Models))]
    public void The_configuration_is_that_of_the_model_it_was_made_from(string model)
    {
        using var file = GgufFile.Open(GgufFixtures.Of(model, ".gguf"));
        var expected = ModelConfig.Parse(File.ReadAllText(GgufFixtures.Of(model, ".config.json")), "config.json");

        var config = GgufConfig.Of(file.Header, tensor => GgufValues.Of(file, tensor));

        Assert.Equal((expected with { RopeScaling = null }).ToJson(), (config with { RopeScaling = null }).ToJson());
        AssertSameAngles(expected, config);
        AssertSameAngles(config, ModelConfig.Parse(config.ToJson(), "config.json"));
    }

    [SharedTheory, MemberData(nameof(Models))]
    public void Every_parameter_has_the_numbers_of_the_model_it_was_made_from(string model)
    {
        using var file = GgufFile.Open(GgufFixtures.Of(model, ".gguf"));
        var expected = GgufFixtures.Expected(model).GetProperty("tensors").EnumerateArray()
            .ToDictionary(static row => row.GetProperty("hf").GetString()!);
        var config = GgufConfig.Of(file.Header, tensor => GgufValues.Of(file, tensor));

        var parameters = GgufParameters.Of(config, file.Header);

        Assert.Equal(expected.Keys.Order(), parameters.Select(static parameter => parameter.Name).Order());
        foreach (var parameter in parameters)
        {
            var row = expected[parameter.Name];
            var values = new float[parameter.Tensor.Count];
            GgufValues.Rows(file, parameter, 0, values);
            Assert.Equal(row.GetProperty("gguf").GetString(), parameter.Tensor.Name);
            Assert.Equal(row.GetProperty("rows_permuted_per_head").GetBoolean(), parameter.Rows is not null);
            var first = row.GetProperty("first_values").EnumerateArray().Select(static value => value.GetSingle()).ToArray();
            Assert.Equal(first, values.Take(first.Length));
            Assert.Equal(row.GetProperty("last_value").GetSingle(), values[^1]);
            Assert.Equal(row.GetProperty("sum").GetDouble(), values.Sum(static value => (double)value), 6);
        }
    }

    // In float32 the two forms round differently: by some units in the last place of an angle.
    private static void AssertSameAngles(ModelConfig expected, ModelConfig config)
    {
        using var scope = NewDisposeScope();
        (float[] Cos, float[] Sin) Table(ModelConfig of)
        {
            var (cos, sin) = Blocks.RotaryTable(0, 64, of, CPU, ScalarType.Float32);
            return (cos.data<float>().ToArray(), sin.data<float>().ToArray());
        }

        Assert.Equal(expected.RopeScaling is null, config.RopeScaling is null);
        var (one, other) = (Table(expected), Table(config));
        foreach (var (left, right) in one.Cos.Zip(other.Cos).Concat(one.Sin.Zip(other.Sin))) Assert.Equal(left, right, 2e-5f);
    }
}
