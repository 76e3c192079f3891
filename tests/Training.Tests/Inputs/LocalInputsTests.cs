using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Ports;
using FedRLora.Training.Inputs;

namespace FedRLora.Training.Tests.Inputs;

public sealed class LocalInputsTests : IDisposable
{
    private readonly TinyFederation _tiny = new();

    public void Dispose() => _tiny.Dispose();

    private string File(string name) => Path.Combine(_tiny.Root, name);

    private Task<BaseDigest> BaseAsync(string model = "model") =>
        new LocalInputs(_tiny.Root).BaseAsync(_tiny.Plan() with { Model = new() { Path = model } });

    private Task<string> RowsAsync(RowSelection rows, byte salt = 1) =>
        new LocalInputs(_tiny.Root).RowsAsync(rows, new byte[] { salt, 2, 3 });

    [Fact]
    public async Task A_base_is_its_content_wherever_it_lies()
    {
        Copy("model", "elsewhere/copy");
        Directory.CreateSymbolicLink(File("link"), File("model"));
        Directory.CreateDirectory(File("snapshot"));
        foreach (var file in Directory.GetFiles(File("model")))
            System.IO.File.CreateSymbolicLink(File($"snapshot/{Path.GetFileName(file)}"), file);

        var expected = await BaseAsync();

        Assert.Equal(["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"],
            expected.Files.Select(static file => file.Name));
        foreach (var other in new[] { "elsewhere/copy", "link", "snapshot" })
        {
            Assert.Equal(expected.Files, (await BaseAsync(other)).Files);
            Assert.Equal(expected.Parts, (await BaseAsync(other)).Parts);
        }
    }

    [Theory]
    [InlineData("config.json", "configuration")]
    [InlineData("generation_config.json", "tokenizer")]
    [InlineData("tokenizer.json", "tokenizer")]
    [InlineData("tokenizer_config.json", "tokenizer")]
    [InlineData("special_tokens_map.json", "tokenizer")]
    [InlineData("chat_template.jinja", "tokenizer")]
    [InlineData("chat_template.json", "tokenizer")]
    [InlineData("model.safetensors", "weights")]
    public async Task Every_file_that_is_read_counts_and_is_named(string file, string part)
    {
        var before = await BaseAsync();
        await System.IO.File.AppendAllTextAsync(File($"model/{file}"), " ");

        var now = await BaseAsync();

        Assert.Equal([part], before.Parts.DifferingFrom(now.Parts));
        Assert.StartsWith($"{file} of model ", before.Change(now, "model", "run"), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Files_that_nobody_reads_do_not_count()
    {
        var before = await BaseAsync();
        foreach (var file in new[] { "README.md", "pytorch_model.bin", "other.safetensors",
            "model.safetensors.index.json" }) await System.IO.File.WriteAllTextAsync(File($"model/{file}"), "{}");

        Assert.Equal(before.Files, (await BaseAsync()).Files);
    }

    [Fact]
    public async Task A_template_that_hides_another_takes_its_place()
    {
        await System.IO.File.WriteAllTextAsync(File("model/chat_template.json"), "{}");
        var before = await BaseAsync();
        Directory.CreateDirectory(File("model/additional_chat_templates"));
        await System.IO.File.WriteAllTextAsync(File("model/chat_template.jinja"), "x");
        await System.IO.File.WriteAllTextAsync(File("model/additional_chat_templates/tool_use.jinja"), "x");

        var now = await BaseAsync();

        Assert.Contains(now.Files, static file => file.Name == "additional_chat_templates/tool_use.jinja");
        Assert.DoesNotContain(now.Files, static file => file.Name == "chat_template.json");
        Assert.Equal("additional_chat_templates/tool_use.jinja of model was not there when run r was made (sha256 2d711642b726), "
            + "nor chat_template.jinja, chat_template.json", before.Change(now, "model", "r"));
    }

    [Fact]
    public async Task Shards_count_each_with_the_index()
    {
        Directory.CreateDirectory(File("sharded"));
        foreach (var shard in new[] { "a", "b" }) await System.IO.File.WriteAllTextAsync(File($"sharded/{shard}.safetensors"), shard);
        await System.IO.File.WriteAllTextAsync(File("sharded/model.safetensors.index.json"),
            """{"weight_map":{"x":"a.safetensors","y":"b.safetensors","z":"a.safetensors","bad":"../model/model.safetensors"}}""");
        var before = await BaseAsync("sharded");
        await System.IO.File.WriteAllTextAsync(File("sharded/b.safetensors"), "c");

        Assert.Equal(["a.safetensors", "b.safetensors", "model.safetensors.index.json"], before.Files.Select(static file => file.Name));
        Assert.All(before.Files, static file => Assert.Equal(BasePart.Weights, file.Part));
        Assert.Matches("^b.safetensors of sharded is not the one that run r was made with \\(sha256 [0-9a-f]{12}, now [0-9a-f]{12}\\)$",
            before.Change(await BaseAsync("sharded"), "sharded", "r"));
    }

    [Fact]
    public async Task A_file_that_is_gone_is_named()
    {
        var before = await BaseAsync();
        System.IO.File.Delete(File("model/tokenizer_config.json"));

        Assert.Equal("tokenizer_config.json of model, which run r was made with, is gone", before.Change(await BaseAsync(), "model", "r"));
        Assert.Contains("no such folder", (await Assert.ThrowsAsync<BadInputException>(() => BaseAsync("nowhere"))).Message,
            StringComparison.Ordinal);
    }

    [Fact]
    public async Task Rows_are_those_that_the_client_reads_in_their_order()
    {
        var slice = new RowSelection("rows.jsonl", 1, 2, OrFewer: false);
        _tiny.Write("rows.jsonl", ["a", "b", "c", "d"]);
        var digest = await RowsAsync(slice);

        Assert.Equal(digest, await After("x", "b", "c", "y", "z"));
        Assert.NotEqual(digest, await After("a", "c", "b", "d"));
        Assert.NotEqual(digest, await After("a", "bc", "", "d"));
        Assert.NotEqual(digest, await After("a", "b", "c2", "d"));

        async Task<string?> After(params string[] lines)
        {
            _tiny.Write("rows.jsonl", lines);
            try
            {
                return await RowsAsync(slice);
            }
            catch (BadInputException)
            {
                return null;
            }
        }
    }

    [Fact]
    public async Task Test_rows_count_up_to_the_bound_and_may_be_fewer()
    {
        var bounded = new RowSelection("rows.jsonl", 0, 2, OrFewer: true);
        _tiny.Write("rows.jsonl", ["a", "b", "c"]);
        var digest = await RowsAsync(bounded);
        _tiny.Write("rows.jsonl", ["a", "b", "other"]);

        Assert.Equal(digest, await RowsAsync(bounded));
        Assert.NotEqual(digest, await RowsAsync(bounded with { Rows = 5 }));
    }

    [Fact]
    public async Task Another_salt_gives_another_digest()
    {
        var rows = RowSelection.Train(TinyFederation.Client("one"));

        Assert.Equal(await RowsAsync(rows), await RowsAsync(rows));
        Assert.NotEqual(await RowsAsync(rows), await RowsAsync(rows, salt: 2));
    }

    [Fact]
    public async Task A_trainer_reads_a_base_that_was_exchanged()
    {
        using var trainer = _tiny.Trainer();
        var group = await TinyFederation.GroupAsync(trainer, _tiny.Plan(), "one");
        var before = (await trainer.EvaluateAsync(group))[0].Loss;
        var path = File("model/model.safetensors");
        var bytes = await System.IO.File.ReadAllBytesAsync(path);
        for (var i = bytes.Length - 400; i < bytes.Length; i += 4) bytes[i + 3] ^= 0x80; // signs of the last weights
        await System.IO.File.WriteAllBytesAsync(path + ".new", bytes);
        System.IO.File.Move(path + ".new", path, overwrite: true);

        Assert.NotEqual(before, (await trainer.EvaluateAsync(group))[0].Loss);
    }

    private void Copy(string from, string to)
    {
        Directory.CreateDirectory(File(to));
        foreach (var file in Directory.GetFiles(File(from))) System.IO.File.Copy(file, Path.Combine(File(to), Path.GetFileName(file)));
    }
}
