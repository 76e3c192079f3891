using System.Text.RegularExpressions;
using System.Xml.Linq;

namespace FedRLora.Federation.Tests;

/// <summary>A project exists to keep a dependency out; this reads the project files.</summary>
public class ArchitectureTests
{
    private static readonly Dictionary<string, XDocument> Projects = Directory.GetDirectories(Path.Combine(Root(), "src"))
        .Select(folder => Path.Combine(folder, Path.GetFileName(folder) + ".csproj")).Where(File.Exists)
        .ToDictionary(file => Path.GetFileNameWithoutExtension(file), XDocument.Load);

    [Theory]
    [InlineData("Abstractions")]
    [InlineData("Federation", "Abstractions")]
    [InlineData("Training", "Abstractions")]
    [InlineData("Grains", "Abstractions", "Federation")]
    [InlineData("Pki", "Abstractions")]
    [InlineData("ControlPlane", "Abstractions", "Grains", "Pki")]
    [InlineData("Silo", "Abstractions", "ControlPlane", "Federation", "Grains", "Pki", "Training")]
    [InlineData("Client", "Abstractions", "Pki", "Silo")]
    public void A_project_references_only_what_the_design_allows(string project, params string[] allowed) =>
        Assert.Equal(
            allowed,
            References(project, "ProjectReference").Select(path => Path.GetFileNameWithoutExtension(path.Replace('\\', '/')))
                .Order(StringComparer.Ordinal));

    [Fact]
    public void Every_project_is_covered() =>
        Assert.Equal(["Abstractions", "Client", "ControlPlane", "Federation", "Grains", "Pki", "Silo", "Training"],
            Projects.Keys.Order(StringComparer.Ordinal));

    [Theory]
    [InlineData("Abstractions")]
    [InlineData("Federation")]
    [InlineData("Grains")]
    public void A_project_without_tensors_has_no_TorchSharp(string project) =>
        Assert.DoesNotContain(
            References(project, "PackageReference"), package => package.Contains("torch", StringComparison.OrdinalIgnoreCase));

    [Theory]
    [InlineData("Abstractions")]
    [InlineData("Federation")]
    [InlineData("Training")]
    public void A_project_that_runs_in_a_console_has_no_Orleans_server(string project) =>
        Assert.DoesNotContain(
            References(project, "PackageReference"),
            package => package.StartsWith("Microsoft.Orleans", StringComparison.Ordinal) && package != "Microsoft.Orleans.Sdk");

    [Fact]
    public void No_two_events_of_a_class_have_one_number()
    {
        var logs = Directory.GetFiles(Path.Combine(Root(), "src"), "*.Log.cs", SearchOption.AllDirectories);
        var events = logs.SelectMany(file => Regex.Matches(File.ReadAllText(file), @"LoggerMessage\((\d+)")
            .Select(match => $"{Path.GetFileName(file)}: {match.Groups[1].Value}")).ToList();
        Assert.NotEmpty(events);
        Assert.Empty(events.GroupBy(static one => one).Where(static same => same.Count() > 1).Select(static same => same.Key));
    }

    private static IEnumerable<string> References(string project, string kind) =>
        Projects[project].Descendants(kind).Select(reference => reference.Attribute("Include")!.Value);

    internal static string Root()
    {
        var folder = new DirectoryInfo(AppContext.BaseDirectory);
        while (!File.Exists(Path.Combine(folder.FullName, "FedRLora.sln")))
            folder = folder.Parent ?? throw new InvalidOperationException("FedRLora.sln is in no folder above the tests.");
        return folder.FullName;
    }
}
