using System.Text.Json;
using FedRLora.Training.Tests;

namespace FedRLora.EndToEnd.Tests.Releases;

public sealed class NoticesTests
{
    private static readonly string Licences = Path.Combine(Repository.Root, "eng", "licences");

    /// <summary>Where the build restored packages to.</summary>
    private static string PackageRoot => Environment.GetEnvironmentVariable("NUGET_PACKAGES")
        ?? Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".nuget", "packages");

    [Fact]
    public void Every_package_whose_files_are_in_the_program_is_named_with_the_text_of_its_licence()
    {
        var packages = OfTheProgram().ToList();

        var read = NoticeText.Read(PackageRoot, Licences, packages);
        var text = NoticeText.Write(read, []);

        Assert.True(packages.Count > 30, "the program's packages are not found");
        Assert.Contains(packages, static package => package.Item1 == "TorchSharp");
        Assert.All(packages, package => Assert.Contains($"\n{package.Item1} {package.Item2}\n", text, StringComparison.Ordinal));
        Assert.All(read, static package =>
        {
            Assert.NotEqual("by ", package.Copyright);
            Assert.Contains("WARRANT", string.Concat(package.Texts), StringComparison.OrdinalIgnoreCase);
        });
    }

    [Fact]
    public void The_order_of_packages_changes_no_byte_and_a_text_stands_once()
    {
        using var folder = new TemporaryFolder();
        Package(folder, "b", """<license type="expression">MIT</license>""");
        Package(folder, "a", """<license type="expression">MIT</license>""");

        var text = Written(folder, ["a", "b", "a"]);

        Assert.Equal(text, Written(folder, ["b", "a"]));
        Assert.Single(text.Split('\n'), static line => line.StartsWith("THE SOFTWARE IS PROVIDED", StringComparison.Ordinal));
        Assert.Contains("\na 1.0\n  (c) someone\n  licence: MIT; text 1\n\nb 1.0\n", text, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("", "a 1.0: its licence is not said")]
    [InlineData("<license type=\"expression\">WTFPL</license>", "a 1.0: its licence is WTFPL")]
    public void A_package_without_a_known_licence_is_refused_by_name(string licence, string fault)
    {
        using var folder = new TemporaryFolder();
        Package(folder, "a", licence);

        var refused = Assert.Throws<InvalidDataException>(() => Written(folder, ["a"]));

        Assert.StartsWith(fault, refused.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_package_that_is_not_there_is_named()
    {
        using var folder = new TemporaryFolder();

        var refused = Assert.Throws<InvalidDataException>(() => Written(folder, ["a"]));

        Assert.StartsWith("a 1.0: no ", refused.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_package_brings_its_own_licence_and_its_notices_of_rich_text_the_words()
    {
        using var folder = new TemporaryFolder();
        Package(folder, "a", """<license type="file">COPYING.md</license>""");
        File.WriteAllText(folder.File("a/1.0/COPYING.md"), "Do what is right.\r\n");
        File.WriteAllText(folder.File("a/1.0/ThirdPartyNotices.rtf"),
            @"{\rtf1\ansi{\fonttbl{\f0 Tahoma;}}\pard\fs19 It holds \b zlib\b0\par of two.\par}");

        var text = Written(folder, ["a"]);

        Assert.Contains("licence: its own; text 1, 2\n", text, StringComparison.Ordinal);
        Assert.Contains("== Text 1 ==\n\nDo what is right.\n", text, StringComparison.Ordinal);
        Assert.Contains("== Text 2 ==\n\nIt holds zlib\nof two.\n", text, StringComparison.Ordinal);
    }

    private static void Package(TemporaryFolder folder, string name, string licence)
    {
        Directory.CreateDirectory(folder.File($"{name}/1.0"));
        File.WriteAllText(folder.File($"{name}/1.0/{name}.nuspec"),
            $"<package><metadata><id>{name}</id>{licence}<copyright>(c) someone</copyright></metadata></package>");
    }

    private static string Written(TemporaryFolder folder, IEnumerable<string> names) =>
        NoticeText.Write(NoticeText.Read(folder.Root, Licences, names.Select(static name => Tuple.Create(name, "1.0"))), []);

    private static IEnumerable<Tuple<string, string>> OfTheProgram()
    {
        using var written = JsonDocument.Parse(File.ReadAllText(Path.Combine(AppContext.BaseDirectory, "fedrlora.deps.json")));
        var types = written.RootElement.GetProperty("libraries");
        return
        [
            .. written.RootElement.GetProperty("targets").EnumerateObject().Single().Value.EnumerateObject()
                .Where(library => types.GetProperty(library.Name).GetProperty("type").GetString() == "package")
                .Where(static library => library.Value.TryGetProperty("runtime", out _)
                    || library.Value.TryGetProperty("runtimeTargets", out _))
                .Select(static library => library.Name.Split('/'))
                .Select(static name => Tuple.Create(name[0], name[1])),
        ];
    }
}
