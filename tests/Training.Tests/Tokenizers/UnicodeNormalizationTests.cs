using System.Globalization;
using FedRLora.Training.Data.Tokenizers.Normalizers;

namespace FedRLora.Training.Tests.Tokenizers;

/// <summary>Cases in the manner of Unicode's NormalizationTest.txt: a source and its four forms, as code points.</summary>
public sealed class UnicodeNormalizationTests
{
    public static TheoryData<string, string, string, string, string> Cases => new()
    {
        { "41 42", "41 42", "41 42", "41 42", "41 42" }, // ASCII is itself
        { "1E0A", "1E0A", "44 307", "1E0A", "44 307" },
        { "44 323 307", "1E0C 307", "44 323 307", "1E0C 307", "44 323 307" }, // joins what is not blocked
        { "44 307 323", "1E0C 307", "44 323 307", "1E0C 307", "44 323 307" }, // marks are put in order first
        { "212B", "C5", "41 30A", "C5", "41 30A" }, // a singleton never comes back
        { "958", "915 93C", "915 93C", "915 93C", "915 93C" }, // excluded from composition
        { "FB01", "FB01", "FB01", "66 69", "66 69" },
        { "1E9B 323", "1E9B 323", "17F 323 307", "1E69", "73 323 307" },
        { "AC00", "AC00", "1100 1161", "AC00", "1100 1161" }, // Hangul, by arithmetic
        { "AC01", "AC01", "1100 1161 11A8", "AC01", "1100 1161 11A8" },
        { "1100 1161 11A8 11A8", "AC01 11A8", "1100 1161 11A8 11A8", "AC01 11A8", "1100 1161 11A8 11A8" },
        { "FDFA", "FDFA", "FDFA", "635 644 649 20 627 644 644 647 20 639 644 64A 647 20 648 633 644 645",
            "635 644 649 20 627 644 644 647 20 639 644 64A 647 20 648 633 644 645" },
        { "1D15E", "1D157 1D165", "1D157 1D165", "1D157 1D165", "1D157 1D165" }, // beyond the basic plane
        { "1D400", "1D400", "1D400", "41", "41" },
        { "F900 2F800", "8C48 4E3D", "8C48 4E3D", "8C48 4E3D", "8C48 4E3D" },
        { "61 315 300 5AE 300 62", "E0 5AE 300 315 62", "61 5AE 300 300 315 62", "E0 5AE 300 315 62", "61 5AE 300 300 315 62" },
        { "344", "308 301", "308 301", "308 301", "308 301" },
    };

    [Theory, MemberData(nameof(Cases))]
    public void Each_form_is_what_the_standard_says(string source, string nfc, string nfd, string nfkc, string nfkd)
    {
        foreach (var (expected, compatible, composed) in ((string, bool, bool)[])[(nfc, false, true), (nfd, false, false),
            (nfkc, true, true), (nfkd, true, false)])
        {
            var form = UnicodeNormalization.Form(compatible, composed);
            Assert.Equal(expected, Show(form(Text(source))));
            Assert.Equal("xyz " + Text(expected), form("xyz " + Text(source))); // behind text that does not change
            Assert.Equal(expected, Show(form(Text(expected)))); // again changes nothing
        }
    }

    [Fact]
    public void Every_line_of_the_conformance_test_holds_where_its_file_is_given()
    {
        // NormalizationTest.txt of the Unicode Character Database, of the version of UnicodeTable.txt.
        if (Environment.GetEnvironmentVariable("FEDRLORA_NORMALIZATION_TEST") is not { Length: > 0 } path) return;
        foreach (var line in File.ReadLines(path).Where(static line => line.Length > 0 && line[0] is not ('#' or '@')))
        {
            var column = line.Split(';');
            Each_form_is_what_the_standard_says(Plain(column[0]), Plain(column[1]), Plain(column[2]), Plain(column[3]), Plain(column[4]));
        }
    }

    [Fact]
    public void A_hundred_thousand_marks_in_the_wrong_order_take_no_quadratic_time() =>
        Assert.Equal(200_001, UnicodeNormalization.Form(compatible: false, composed: true)("a"
            + string.Concat(Enumerable.Repeat("\u0315\u0323", 100_000))).Length + 1);

    private static string Plain(string codes) => string.Join(' ', codes.Split(' ').Select(static code => code.TrimStart('0')));

    private static string Text(string codes) => string.Concat(codes.Split(' ')
        .Select(static code => char.ConvertFromUtf32(int.Parse(code, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture))));

    private static string Show(string text) =>
        string.Join(' ', text.EnumerateRunes().Select(static rune => rune.Value.ToString("X", CultureInfo.InvariantCulture)));
}
