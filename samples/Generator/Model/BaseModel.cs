using FedRLora.Abstractions;
using FedRLora.Abstractions.Tensors;
using FedRLora.Generator.Text;
using FedRLora.Training.Data.Tokenizers;
using FedRLora.Training.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Generator.Model;

/// <summary>The small Llama of the samples: its sizes, its first weights and its folder.</summary>
internal static class BaseModel
{
    public const int ContextLength = 128;

    public static ModelConfig ConfigFor(Tokenizer tokenizer) => new()
    {
        ModelType = "llama",
        HiddenSize = 128,
        IntermediateSize = 256,
        Layers = 4,
        AttentionHeads = 4,
        KeyValueHeads = 4,
        HeadDim = 32,
        VocabularySize = tokenizer.VocabularySize,
        MaxPositions = ContextLength,
        NormEpsilon = 1e-5,
        TieWordEmbeddings = true,
        BeginId = tokenizer.BeginId,
        EndIds = [tokenizer.EndId!.Value],
        PadId = tokenizer.PadId,
    };

    /// <summary>
    /// Norms at one; matrices normal with standard deviation 1/sqrt(inputs), those that write to the residual stream at zero.
    /// </summary>
    public static Dictionary<string, Tensor> InitialParameters(ModelConfig config)
    {
        using var generator = new torch.Generator(Seed.For(Dice.SampleSeed, 0, "", "pretraining/initialization") >> 1);
        return ModelRegistry.ExpectedParameters(config).ToDictionary(p => p.Name, p => (Tensor)nn.Parameter(Draw(p, generator)));
    }

    public static void Save(string folder, ModelConfig config, IReadOnlyDictionary<string, Tensor> parameters)
    {
        File.WriteAllText(Path.Combine(folder, "config.json"), config.ToJson() + "\n");
        var arrays = parameters.Select(
            p => KeyValuePair.Create(p.Key, SafetensorsArray.Of(p.Value.shape, p.Value.detach().data<float>().ToArray())));
        using var file = File.Create(Path.Combine(folder, "model.safetensors"));
        SafetensorsWriter.Write(arrays, new Dictionary<string, string> { ["format"] = "pt" }, file);
    }

    private static Tensor Draw(ParameterShape parameter, torch.Generator generator)
    {
        if (parameter.Shape.Length == 1)
            return ones(parameter.Shape, ScalarType.Float32, CPU);
        if (parameter.Name.EndsWith("o_proj.weight", StringComparison.Ordinal)
            || parameter.Name.EndsWith("down_proj.weight", StringComparison.Ordinal))
            return zeros(parameter.Shape, ScalarType.Float32, CPU);
        var deviation = 1 / Math.Sqrt(parameter.Shape[1]);
        return empty(parameter.Shape, ScalarType.Float32, CPU).normal_(0, deviation, generator);
    }
}
