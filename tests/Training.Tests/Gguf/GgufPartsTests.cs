using FedRLora.Abstractions;
using FedRLora.Training.Gguf;
using FedRLora.Training.Gguf.Architectures;

namespace FedRLora.Training.Tests.Gguf;

/// <summary>A model in several files.</summary>
public sealed class GgufPartsTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();
    private readonly string _whole;

    public GgufPartsTests()
    {
        _whole = new TinyGguf(_folder).Path;
        Split(_whole, "model", 3);
    }

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public void Any_part_opens_the_whole(int given)
    {
        using var whole = GgufFile.Open(_whole);
        using var parts = GgufFile.Open(Part("model", given, 3));

        Assert.Equal(whole.Tensors.Keys, parts.Tensors.Keys);
        foreach (var (name, tensor) in whole.Tensors) Assert.Equal(GgufValues.Of(whole, tensor), GgufValues.Of(parts, parts.Tensors[name]));
        Assert.Equal(
            GgufConfig.Of(whole.Header, _ => []).ToJson(), GgufConfig.Of(parts.Header, _ => []).ToJson());
        Assert.Equal(Enumerable.Range(1, 3).Select(part => Part("model", part, 3)), parts.Paths);
    }

    [Fact]
    public void A_missing_part_is_named()
    {
        File.Delete(Part("model", 2, 3));

        Refused(Part("model", 3, 3), Part("model", 2, 3), "is missing");
    }

    [Fact]
    public void A_damaged_part_is_named()
    {
        var bytes = File.ReadAllBytes(Part("model", 2, 3));
        File.WriteAllBytes(Part("model", 2, 3), bytes[..^100]);

        Refused(Part("model", 1, 3), Part("model", 2, 3), "ends behind the end");
    }

    [Fact]
    public void A_part_of_a_model_with_other_counts_is_named()
    {
        Split(new TinyGguf(_folder, Models.TinyLlama.Config with { Layers = 1 }, "other.gguf").Path, "other", 3);
        File.Copy(Part("other", 2, 3), Part("model", 2, 3), overwrite: true);

        Refused(Part("model", 1, 3), Part("model", 2, 3), "split.tensors.count");
    }

    [Fact]
    public void A_part_twice_is_named()
    {
        File.Copy(Part("model", 3, 3), Part("model", 2, 3), overwrite: true);

        Refused(Part("model", 1, 3), Part("model", 2, 3), "split.no");
    }

    [Fact]
    public void A_part_under_another_name_is_refused()
    {
        File.Move(Part("model", 1, 3), _folder.File("renamed.gguf"));

        Refused(_folder.File("renamed.gguf"), "part 1 of 3", "its name does not say so");
    }

    [Fact]
    public void A_whole_model_under_the_name_of_a_part_is_refused()
    {
        File.Copy(_whole, Part("whole", 1, 3));

        Refused(Part("whole", 1, 3), "by its name", "split.count");
    }

    [Fact]
    public void A_part_with_tensors_of_its_own_beside_all_others_is_named()
    {
        var (writer, tensors) = (new GgufWriter(), GgufCopy.Tensors(_whole));
        writer.Set("split.no", 2L).Set("split.count", 3L).Set("split.tensors.count", (long)tensors.Count);
        writer.Add(tensors[0]);
        File.Delete(Part("model", 3, 3));
        writer.Write(Part("model", 3, 3));

        Refused(Part("model", 1, 3), Part("model", 3, 3), tensors[0].Name);
    }

    [Fact]
    public void A_part_that_lacks_tensors_is_counted()
    {
        var writer = new GgufWriter().Set("split.no", 2L).Set("split.count", 3L)
            .Set("split.tensors.count", (long)GgufCopy.Tensors(_whole).Count);
        File.Delete(Part("model", 3, 3));
        writer.Write(Part("model", 3, 3));

        Refused(Part("model", 1, 3), "split.tensors.count", "the 3 parts have");
    }

    [Fact]
    public void A_part_that_says_another_architecture_is_named()
    {
        var tensors = GgufCopy.Tensors(_whole);
        var writer = new GgufWriter().Set("split.no", 2L).Set("split.count", 3L).Set("split.tensors.count", (long)tensors.Count)
            .Set("general.architecture", "qwen2");
        File.Delete(Part("model", 3, 3));
        writer.Write(Part("model", 3, 3));

        Refused(Part("model", 1, 3), Part("model", 3, 3), "general.architecture");
    }

    private static void Refused(string path, params string[] expected)
    {
        var message = Assert.Throws<BadInputException>(() => GgufFile.Open(path)).Message;
        Assert.All(expected, text => Assert.Contains(text, message));
    }

    private string Part(string name, int number, int count) => _folder.File($"{name}-{number:D5}-of-{count:D5}.gguf");

    // As llama-gguf-split does: the metadata in the first part alone.
    private void Split(string path, string name, int parts)
    {
        var (metadata, tensors) = (GgufFile.ReadHeader(path).Metadata, GgufCopy.Tensors(path));
        for (var part = 0; part < parts; part++)
        {
            var writer = new GgufWriter();
            if (part == 0) writer.Keys(metadata);
            writer.Set("split.no", (long)part).Set("split.count", (long)parts).Set("split.tensors.count", (long)tensors.Count);
            foreach (var tensor in tensors.Skip(part * tensors.Count / parts)
                .Take((part + 1) * tensors.Count / parts - part * tensors.Count / parts))
                writer.Add(tensor);
            writer.Write(Part(name, part + 1, parts));
        }
    }
}
