using System.Text.Json;
using FedRLora.Training.Data.Tokenizers;

namespace FedRLora.Training.Tests.Tokenizers;

/// <summary>Genuine tokenizers against ids and texts that the reference implementation gives; every case, exactly.</summary>
public sealed class TokenizerFixtureTests
{
    public static TheoryData<string> Folders => Fixtures.Of("tokenizer");

    [SharedTheory, MemberData(nameof(Folders))]
    public void Ids_tokens_and_decoded_texts_match_every_reference_case(string folder)
    {
        var tokenizer = Tokenizer.Load(Fixtures.TokenizerOf(folder));
        var failures = File.ReadLines(SharedFolder.Of(folder, "cases.jsonl"))
            .SelectMany((line, number) => Differences(tokenizer, line, number + 1)).ToList();
        Assert.True(failures.Count == 0, $"{failures.Count} differences:\n{string.Join('\n', failures.Take(20))}");
    }

    private static IEnumerable<string> Differences(Tokenizer tokenizer, string line, int number)
    {
        using var document = JsonDocument.Parse(line);
        var expected = document.RootElement;
        var text = expected.GetProperty("text").GetString()!;
        int[] Ids(string key) => [.. expected.GetProperty(key).EnumerateArray().Select(static id => id.GetInt32())];
        var (ids, plain) = (tokenizer.Encode(text, addSpecialTokens: true), tokenizer.Encode(text, addSpecialTokens: false));
        if (!ids.AsSpan().SequenceEqual(Ids("ids")))
            yield return $"{number} ids: {string.Join(' ', ids)}, expected {string.Join(' ', Ids("ids"))}";
        if (!plain.AsSpan().SequenceEqual(Ids("ids_no_special"))) yield return $"{number} ids_no_special: {string.Join(' ', plain)}";
        var tokens = expected.GetProperty("tokens").EnumerateArray().Select(static token => token.GetString()!);
        if (!tokenizer.Tokens(text).SequenceEqual(tokens))
            yield return $"{number} tokens: {string.Join(' ', tokenizer.Tokens(text))}, expected {string.Join(' ', tokens)}";
        foreach (var (key, skip) in ((string, bool)[])[("decoded", false), ("decoded_skip_special", true)])
        {
            var (decoded, reference) = (tokenizer.Decode(Ids("ids_no_special"), skip), expected.GetProperty(key).GetString()!);
            if (decoded != reference) yield return $"{number} {key}: '{decoded}', expected '{reference}'";
        }
    }
}
