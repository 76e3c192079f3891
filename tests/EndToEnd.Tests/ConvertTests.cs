using FedRLora.Training.Tests;

namespace FedRLora.EndToEnd.Tests;

/// <summary><c>fedrlora convert</c>.</summary>
public sealed class ConvertTests : IDisposable
{
    private readonly TinyFederation _tiny = new();

    public void Dispose() => _tiny.Dispose();

    [Fact]
    public async Task A_folder_becomes_a_file_and_a_file_a_folder_once()
    {
        File.Delete(Of("model/tokenizer.json"));

        var file = await CommandLine.RunAsync("convert", Of("model"), Of("model.gguf"));
        var folder = await CommandLine.RunAsync("convert", Of("model.gguf"), Of("again"), "--type", "bf16");

        Assert.Equal((0, $"{Of("model.gguf")}: written from {Of("model")}, 21 tensors F32\n"), (file.Code, file.Output));
        Assert.Contains("the file gets no tokenizer", file.Error);
        Assert.Equal((0, $"{Of("again")}: written from {Of("model.gguf")} (21 tensors F32), 21 tensors BF16\n", ""),
            (folder.Code, folder.Output, folder.Error));
        Assert.Equal(2, (await CommandLine.RunAsync("convert", Of("model"), Of("model.gguf"))).Code);
        Assert.Equal(2, (await CommandLine.RunAsync("convert", Of("model.gguf"), Of("again"))).Code);
    }

    [Fact]
    public async Task What_cannot_be_said_is_one_line_and_leaves_nothing()
    {
        var tokenizer = await CommandLine.RunAsync("convert", Of("model"), Of("model.gguf"));
        var type = await CommandLine.RunAsync("convert", Of("model"), Of("model.gguf"), "--type", "q4_0");
        var adapter = Directory.CreateDirectory(Of("adapter")).FullName;
        File.WriteAllText(Path.Combine(adapter, "adapter_config.json"), "{}");
        var baseless = await CommandLine.RunAsync("convert", adapter, Of("adapter.gguf"));
        var missing = await CommandLine.RunAsync("convert", Of("nothing"), Of("model.gguf"));

        Assert.Equal((2, 2, 2, 2), (tokenizer.Code, type.Code, baseless.Code, missing.Code));
        Assert.Contains("tokenizer.json: normalizer and pre_tokenizer is null", tokenizer.Error);
        Assert.Contains("q4_0", type.Error);
        Assert.Contains("give the model that it is on with --model", baseless.Error);
        Assert.Contains("no such folder", missing.Error);
        Assert.Empty(Directory.GetFiles(_tiny.Root, "*.gguf*"));
    }

    private string Of(string name) => Path.Combine(_tiny.Root, name);
}
