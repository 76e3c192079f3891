using System.Text;
using FedRLora.Abstractions;
using FedRLora.Training.Adapters.Peft;
using FedRLora.Training.Data;
using FedRLora.Training.Data.Chat;
using FedRLora.Training.Data.Tokenizers;
using FedRLora.Training.Models;
using FedRLora.Training.Models.Weights;

namespace FedRLora.Training.Tests.Models;

public sealed class TextFilesTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    public static TheoryData<string> Files =>
    [
        "config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja", "chat_template.json",
        ModelWeights.IndexFile, PeftConfig.FileName,
    ];

    [Theory, MemberData(nameof(Files))]
    public void A_file_of_a_folder_that_is_not_UTF_8_is_refused_with_its_line(string name)
    {
        File.WriteAllText(_folder.File("tokenizer.json"), """{"model":{"type":"BPE","vocab":{"a":0},"merges":[]}}""");
        File.WriteAllBytes(_folder.File(name), Encoding.Latin1.GetBytes("{\n\"a\": \"é\"}"));

        var refused = Assert.Throws<BadInputException>(() => Read(name));

        Assert.Equal($"{_folder.File(name)}:2: byte 0xE9 is not UTF-8; save the file as UTF-8", refused.Message);
    }

    [Theory, MemberData(nameof(Files)), InlineData("model.safetensors"), InlineData("adapter_model.safetensors"), InlineData("rows.jsonl")]
    public async Task A_pointer_in_the_place_of_a_file_is_named_as_what_it_is(string name)
    {
        File.WriteAllText(_folder.File("tokenizer.json"), """{"model":{"type":"BPE","vocab":{"a":0},"merges":[]}}""");
        File.WriteAllText(_folder.File(PeftConfig.FileName),
            """{"peft_type": "LORA", "r": 1, "lora_alpha": 1, "target_modules": ["q_proj"]}""");
        File.WriteAllText(_folder.File(name), "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n");

        var refused = await Assert.ThrowsAsync<BadInputException>(async () => _ = name == "rows.jsonl"
            ? await JsonLines.ReadAsync(_folder.File(name), 0, null, default)
            : Read(name));

        Assert.StartsWith($"{_folder.File(name)}: is a Git LFS pointer, not the file itself; fetch it with git lfs pull", refused.Message,
            StringComparison.Ordinal);
    }

    private object? Read(string name) => name switch
    {
        "config.json" => ModelConfig.Load(_folder.Root),
        ModelWeights.IndexFile or "model.safetensors" => ModelWeights.Open(_folder.Root),
        PeftConfig.FileName or PeftAdapter.TensorFile => PeftAdapter.Read(_folder.Root),
        _ when name.StartsWith("chat_template", StringComparison.Ordinal) => ChatTemplateFiles.Read(_folder.Root),
        _ => Tokenizer.Load(_folder.Root),
    };
}
