using System.Text;
using System.Text.Json;
using FedRLora.Training.Models;

namespace FedRLora.Benchmarks;

/// <summary>
/// A model drawn at random and written as a Hugging Face folder without ever being held, with a tokenizer of single letters.
/// </summary>
internal static class ModelFolder
{
    /// <summary>Writes configuration, tokenizer and weights.</summary>
    /// <param name="folder">Exists.</param>
    /// <param name="config">The model.</param>
    /// <param name="stored"><c>F32</c> or <c>BF16</c>.</param>
    /// <param name="shards">Files of weights.</param>
    public static void Write(string folder, ModelConfig config, string stored, int shards)
    {
        File.WriteAllText(Path.Combine(folder, "config.json"), config.ToJson());
        var letters = new[] { "</s>" }.Concat(Enumerable.Range('a', 26).Select(static letter => $"{(char)letter}")).Append(" ")
            .Select(static (letter, id) => (letter, id)).ToDictionary();
        File.WriteAllText(Path.Combine(folder, "tokenizer.json"), JsonSerializer.Serialize(
            new { model = new { type = "BPE", vocab = letters, merges = Array.Empty<string>(), unk_token = "</s>" } }));
        File.WriteAllText(Path.Combine(folder, "tokenizer_config.json"), """{"eos_token":"</s>"}""");

        var parameters = ModelRegistry.ExpectedParameters(config);
        var perShard = (parameters.Count + shards - 1) / shards;
        var index = new Dictionary<string, string>();
        foreach (var (number, shard) in parameters.Chunk(perShard).Index())
        {
            var file = $"model-{number + 1:D5}-of-{shards:D5}.safetensors";
            WriteShard(Path.Combine(folder, file), shard, stored);
            foreach (var parameter in shard) index.Add(parameter.Name, file);
        }

        File.WriteAllText(Path.Combine(folder, "model.safetensors.index.json"), JsonSerializer.Serialize(new { weight_map = index }));
    }

    /// <summary>Elements of a parameter.</summary>
    public static long Count(ParameterShape parameter) => parameter.Shape.Aggregate(1L, static (product, size) => product * size);

    private static void WriteShard(string path, IReadOnlyList<ParameterShape> parameters, string stored)
    {
        var (size, end, header) = (stored == "F32" ? 4 : 2, 0L, new Dictionary<string, object>());
        foreach (var parameter in parameters)
        {
            var begin = end;
            end += Count(parameter) * size;
            header.Add(parameter.Name, new { dtype = stored, shape = parameter.Shape, data_offsets = new[] { begin, end } });
        }

        var json = JsonSerializer.Serialize(header);
        json = json.PadRight((json.Length + 7) / 8 * 8);
        using var stream = new FileStream(path, FileMode.Create, FileAccess.Write, FileShare.None, 1 << 20);
        stream.Write(BitConverter.GetBytes((ulong)json.Length));
        stream.Write(Encoding.ASCII.GetBytes(json));
        var (random, buffer) = (new Random(1), new byte[sizeof(float)]);
        foreach (var parameter in parameters)
        {
            var center = parameter.Name.EndsWith("norm.weight", StringComparison.Ordinal) ? 1f : 0f;
            for (var i = Count(parameter); i > 0; i--)
            {
                BitConverter.TryWriteBytes(buffer, center + 0.1f * (random.NextSingle() - 0.5f));
                stream.Write(buffer.AsSpan(sizeof(float) - size)); // the upper half of a float32 is its bfloat16
            }
        }
    }
}
