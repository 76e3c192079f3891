using System.Text.Json;
using FedRLora.Training.Data.Chat;
using FedRLora.Training.Data.Tokenizers;

namespace FedRLora.Training.Tests.Chat;

/// <summary>Genuine chat templates against texts and ids that the reference implementations give; every case, exactly.</summary>
public sealed class ChatFixtureTests
{
    public static TheoryData<string> Folders => Fixtures.Of("chat");

    [SharedTheory, MemberData(nameof(Folders))]
    public void Every_conversation_is_written_as_the_reference_writes_it(string folder)
    {
        var template = ChatTemplate.Find(ModelOf(folder))!;
        foreach (var (number, expected) in Cases(folder)) Assert.Equal((number, Text(expected)), (number, Rendered(template, expected)));
    }

    [SharedTheory, MemberData(nameof(Folders))]
    public void The_tokenizer_gives_the_references_ids_for_every_conversation(string folder)
    {
        var (template, tokenizer) = (ChatTemplate.Find(ModelOf(folder))!, Tokenizer.Load(ModelOf(folder)));
        foreach (var (number, expected) in Cases(folder))
        {
            var ids = expected.GetProperty("ids").EnumerateArray().Select(static id => id.GetInt32());
            Assert.Equal($"{number}: {string.Join(' ', ids)}",
                $"{number}: {string.Join(' ', tokenizer.Encode(Rendered(template, expected), addSpecialTokens: false))}");
        }
    }

    private static string ModelOf(string folder) => Fixtures.TokenizerOf(folder);

    private static IEnumerable<(int Number, JsonElement Case)> Cases(string folder) =>
        File.ReadLines(SharedFolder.Of(folder, "chat_cases.jsonl"))
            .Select(static (line, number) => (number + 1, JsonDocument.Parse(line).RootElement));

    private static string Text(JsonElement expected) => expected.GetProperty("text").GetString()!;

    private static string Rendered(ChatTemplate template, JsonElement of) =>
        template.Render(Conversation.Read(of.GetProperty("messages"), of.GetProperty("tools")),
            of.GetProperty("add_generation_prompt").GetBoolean()).Text;
}
