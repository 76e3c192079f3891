using System.Text;
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
        var rows = await ReadAsync("""{"id":"x","prompt":"p","completion":"c","label":3}""", """{"text":"t","label":"l"}""",
            """{"prompt":"","completion":"only"}""", "", " ");
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
    [InlineData("1", "1")]
    [InlineData("1.0", "1")]
    [InlineData("10e-1", "1")]
    [InlineData("-0.50", "-0.5")]
    [InlineData("12345678901234567890", "12345678901234567890")]
    [InlineData("9007199254740993.0", "9007199254740993")]
    [InlineData("-0", "0")]
    [InlineData("0.00e-9", "0")]
    [InlineData("0.1", "0.1")]
    [InlineData("25e-3", "0.025")]
    [InlineData("1.5e500", "1.5E+500")]
    [InlineData("150e498", "1.5E+500")]
    [InlineData("1e-9", "1E-9")]
    [InlineData("true", "true")]
    public async Task A_number_is_one_label_however_it_is_written(string written, string label) =>
        Assert.Equal(label, Assert.Single(await ReadAsync($$"""{"prompt":"p","completion":"c","label":{{written}}}""")).Label);

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
        Assert.Contains(":2: the line is blank", (await Assert.ThrowsAsync<BadInputException>(() => ReadAsync(Row, "", Row))).Message,
            StringComparison.Ordinal);
        Assert.Contains("the file has 3",
            (await Assert.ThrowsAsync<BadInputException>(() => JsonLines.ReadAsync(Written(Row, Row, Row), 1, 3, default))).Message,
            StringComparison.Ordinal);
        Assert.Contains("offset is 3",
            (await Assert.ThrowsAsync<BadInputException>(() => JsonLines.ReadAsync(Written(Row, Row, Row), 3, null, default))).Message,
            StringComparison.Ordinal);
        Assert.Contains("absent.jsonl: no such file", (await Assert.ThrowsAsync<BadInputException>(
            () => JsonLines.ReadAsync(_folder.File("absent.jsonl"), 0, null, default))).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_column_that_is_null_is_absent()
    {
        var rows = await ReadAsync(
            """{"prompt":null,"completion":null,"messages":null,"tools":null,"text":"t","label":"l"}""",
            """{"prompt":"p","completion":null,"text":"t","label":"l"}""",
            """{"prompt":"p","completion":"c","messages":null,"text":null,"label":null}""",
            """{"prompt":null,"completion":"c","tools":null,"messages":[{"role":"user","content":"u","weight":null},"""
                + """{"role":"assistant","content":"a","tool_calls":null}]}""");

        Assert.Equal([new Example("t", "l", "l", 1), new Example("t", "l", "l", 2), new Example("p", "c", null, 3)], rows.Take(3));
        Assert.Equal(("a", 2), (rows[3].Completion, rows[3].Chat!.Count));
    }

    [Theory]
    [InlineData("""{"prompt":"p","completion":null}""", "found \"prompt\" without \"completion\"")]
    [InlineData("""{"text":"t","label":null}""", "found \"text\" without \"label\"")]
    [InlineData("""{"prompt":null,"text":null,"messages":null}""", "found an object with the keys prompt, text, messages")]
    public async Task A_row_that_null_leaves_incomplete_is_refused(string row, string expected) =>
        Assert.Contains(expected, (await Assert.ThrowsAsync<BadInputException>(() => ReadAsync(row))).Message, StringComparison.Ordinal);

    [Fact]
    public async Task A_line_of_another_charset_is_refused_with_its_number()
    {
        var row = """{"prompt":"gr\u00fcn","completion":"ß"}""";
        var path = _folder.File("data.jsonl");
        await File.WriteAllBytesAsync(path, [.. Encoding.UTF8.GetBytes(row + "\n"), .. Encoding.Latin1.GetBytes(row + "\n")]);

        var refused = await Assert.ThrowsAsync<BadInputException>(() => JsonLines.ReadAsync(path, 0, null, default));
        Assert.Equal($"{path}:2: byte 0xDF is not UTF-8; save the file as UTF-8", refused.Message);
        Assert.Equal("ß", Assert.Single(await JsonLines.ReadAsync(path, 0, 1, default)).Completion);

        await File.WriteAllTextAsync(path, row, Encoding.Unicode);
        refused = await Assert.ThrowsAsync<BadInputException>(() => JsonLines.ReadAsync(path, 0, null, default));
        Assert.Equal($"{path}: is text in UTF-16; save it in UTF-8; rows are JSON Lines, one object a line", refused.Message);
    }

    [Fact]
    public async Task A_mark_at_the_start_of_the_file_is_no_part_of_its_first_row()
    {
        await File.WriteAllTextAsync(_folder.File("data.jsonl"), """{"prompt":"p","completion":"ß"}""",
            new UTF8Encoding(encoderShouldEmitUTF8Identifier: true));
        Assert.Equal("ß", Assert.Single(await JsonLines.ReadAsync(_folder.File("data.jsonl"), 0, null, default)).Completion);
    }

    private Task<List<Example>> ReadAsync(params string[] lines) => JsonLines.ReadAsync(Written(lines), 0, null, default);

    private string Written(params string[] lines)
    {
        File.WriteAllLines(_folder.File("data.jsonl"), lines);
        return _folder.File("data.jsonl");
    }
}
