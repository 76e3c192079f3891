using System.Security.Cryptography;
using System.Text;
using static TorchSharp.torch;

namespace FedRLora.Training.Models.Weights;

/// <summary>
/// A digest of what a model computes with: names, shapes and numbers as float32, whatever file they come from and however they are stored.
/// A GGUF file and the folder that it was converted to have one; a folder and its weights in four bits have two.
/// </summary>
internal static class ValuesDigest
{
    private const long ElementsAtOnce = 1 << 20;

    /// <summary>Lower-case hexadecimal SHA-256 over every parameter in order of use.</summary>
    public static string Of(ModelConfig config, FrozenParameters parameters)
    {
        using var inference = no_grad();
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        foreach (var (name, shape) in ModelRegistry.ExpectedParameters(config))
        {
            hash.AppendData(Encoding.UTF8.GetBytes($"{name} {string.Join(' ', shape)}\n"));
            foreach (var part in parameters.PartsOf(name, ElementsAtOnce)) hash.AppendData(part.bytes);
        }

        return Convert.ToHexStringLower(hash.GetHashAndReset());
    }
}
