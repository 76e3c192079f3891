using FedRLora.Training.Conversion;
using FedRLora.Training.Data.Tokenizers;
using FedRLora.Training.Models;
using FedRLora.Training.Models.Weights;
using FedRLora.Training.Tests.Gguf;

namespace FedRLora.Training.Tests.Conversion;

/// <summary>Tokenizer and chat template of a folder come back from the file.</summary>
public sealed class TokenizerToGgufTests : IDisposable
{
    private static readonly string[] Texts =
        ["It's 1234567, na\u00efve  x", " Once upon a time,\n\nthere were 3 \u00bd apples.", "", " ", "a<|im_end|>b</s>c",
            "\u4f60\u597d \ud83d\ude00"];

    private readonly TemporaryFolder _root = new();

    public static TheoryData<string> Models => GgufFixtures.Models;

    public void Dispose() => _root.Dispose();

    [SharedTheory, MemberData(nameof(Models))]
    public void A_file_s_documents_come_back_from_a_folder(string model)
    {
        var path = GgufFixtures.Of(model, ".gguf");
        if (Refusal(path) is not null) return;

        GgufToFolder.Write(path, _root.File("folder"), WeightType.F32);
        FolderToGguf.Write(_root.File("folder"), _root.File("again.gguf"), WeightType.F32);

        AssertSame(path, _root.File("again.gguf"));
        AssertSame(path, _root.File("folder"));
    }

    [SharedFact]
    public void A_real_folder_s_tokenizer_comes_back_from_a_file()
    {
        var folders = SharedFolder.FoldersOf("models").Select(static name => SharedFolder.Of("models", name))
            .Where(static folder => File.Exists(Path.Combine(folder, "tokenizer.json"))).ToList();
        foreach (var folder in folders)
        {
            var target = _root.File(Path.GetFileName(folder) + ".gguf");

            FolderToGguf.Write(folder, target, WeightType.F32);

            AssertSame(folder, target);
        }

        Assert.NotEmpty(folders);
    }

    /// <summary>Why a file's text is refused: it names no pre-tokenizer.</summary>
    internal static string? Refusal(string path)
    {
        var message = Record.Exception(() => ModelSource.At(path).Text("tokenizer.json"))?.Message;
        if (message is not null) Assert.Contains("tokenizer.ggml.pre", message);
        return message;
    }

    private static void AssertSame(string one, string other)
    {
        var (expected, tokenizer) = (Tokenizer.Load(ModelSource.At(one)), Tokenizer.Load(ModelSource.At(other)));
        foreach (var text in Texts) Assert.Equal(expected.Encode(text, true), tokenizer.Encode(text, true));
        var (config, again) = (ModelConfig.Load(one), ModelConfig.Load(other));
        Assert.Equal((config.BeginId, config.PadId), (again.BeginId, again.PadId));
        Assert.Equal(config.EndIds, again.EndIds);
        foreach (var name in (string[])["chat_template.jinja", "generation_config.json"])
        {
            if (ModelSource.At(one).Has(name) && one.EndsWith(".gguf", StringComparison.Ordinal))
                Assert.Equal(ModelSource.At(one).Text(name), ModelSource.At(other).Text(name));
        }
    }
}
