using FedRLora.Abstractions;
using FedRLora.Training.Data;

namespace FedRLora.Training.Tests.Data;

public sealed class JsonLinesTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task Both_forms_are_read_and_trailing_blank_lines_are_fine()
    {
        var rows = await ReadAsync("""{"id":"x","prompt":"p","completion":"c","label":3}""", """{"text":"t","label":"l"}""", """{"prompt":"","completion":"only"}""", "", " ");
        Assert.Equal([new Example("p", "c", "3", 1), new Example("t", "l", "l", 2), new Example("", "only", null, 3)], rows);
    }

    [Fact]
    public async Task Offset_and_rows_take_a_part_and_what_follows_is_not_looked_at()
    {
        string[] lines = [.. Enumerable.Range(0, 5).Select(static row => $$"""{"prompt":"{{row}}","completion":"c"}"""), "not JSON"];
        File.WriteAllLines(_folder.File("data.jsonl"), lines);
        var rows = await JsonLines.ReadAsync(_folder.File("data.jsonl"), 1, 4, default);
        Assert.Equal(["1", "2", "3", "4"], rows.Select(static row => row.Prompt));
    }

    [Theory]
    [InlineData("{\"prompt\":\"a\"", "not valid JSON")]
    [InlineData("[1]", "found an array; expected one object with")]
    [InlineData("""{"prompt":"a"}""", "found \"prompt\" without \"completion\"")]
    [InlineData("""{"text":"a"}""", "found \"text\" without \"label\"")]
    [InlineData("""{"turns":[]}""", "found an object with the keys turns; expected")]
    [InlineData("""{"prompt":5,"completion":"c"}""", "\"prompt\" is a number; make it a string")]
    [InlineData("""{"prompt":"a","completion":"c","label":[]}""", "\"label\" is an array")]
    public async Task A_bad_line_is_named_with_what_was_found(string line, string expected)
    {
        var good = """{"prompt":"a","completion":"b"}""";
        var message = (await Assert.ThrowsAsync<BadInputException>(() => ReadAsync([.. Enumerable.Repeat(good, 6), line, good]))).Message;
        Assert.StartsWith(_folder.File("data.jsonl") + ":7: ", message, StringComparison.Ordinal);
        Assert.Contains(expected, message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', message);
    }

    [Fact]
    public async Task A_blank_line_between_rows_too_few_rows_and_a_missing_file_are_named()
    {
        const string Row = """{"prompt":"a","completion":"b"}""";
        Assert.Contains(":2: the line is blank", (await Assert.ThrowsAsync<BadInputException>(() => ReadAsync(Row, "", Row))).Message, StringComparison.Ordinal);
        Assert.Contains("the file has 3", (await Assert.ThrowsAsync<BadInputException>(() => JsonLines.ReadAsync(Written(Row, Row, Row), 1, 3, default))).Message, StringComparison.Ordinal);
        Assert.Contains("offset is 3", (await Assert.ThrowsAsync<BadInputException>(() => JsonLines.ReadAsync(Written(Row, Row, Row), 3, null, default))).Message, StringComparison.Ordinal);
        Assert.Contains("absent.jsonl: no such file", (await Assert.ThrowsAsync<BadInputException>(() => JsonLines.ReadAsync(_folder.File("absent.jsonl"), 0, null, default))).Message, StringComparison.Ordinal);
    }

    private Task<List<Example>> ReadAsync(params string[] lines) => JsonLines.ReadAsync(Written(lines), 0, null, default);

    private string Written(params string[] lines)
    {
        File.WriteAllLines(_folder.File("data.jsonl"), lines);
        return _folder.File("data.jsonl");
    }
}
