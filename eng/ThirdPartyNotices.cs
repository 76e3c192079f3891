#nullable disable // compiled by MSBuild's task factory, which has no nullable context
using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Text;
using System.Text.RegularExpressions;
using System.Xml.Linq;

/// <summary>
/// Build step: writes what a published program has to say of the packages that are in it. Names, versions and licences are
/// those of the packages whose files are published, read from the folder that they were restored to; a package that says no
/// licence fails the build. Parts that are no packages are described in files beside it.
/// </summary>
public sealed class ThirdPartyNotices : Microsoft.Build.Utilities.Task
{
    /// <summary>The files to publish; of packages with NuGetPackageId and NuGetPackageVersion.</summary>
    [Microsoft.Build.Framework.Required]
    public Microsoft.Build.Framework.ITaskItem[] Files { get; set; }

    /// <summary>Where packages were restored to.</summary>
    [Microsoft.Build.Framework.Required]
    public string PackageRoot { get; set; } = "";

    /// <summary>The folder of the sources: files below it are the program's own.</summary>
    [Microsoft.Build.Framework.Required]
    public string Sources { get; set; } = "";

    /// <summary>The folder with the texts of licences that packages name by their SPDX expression alone.</summary>
    [Microsoft.Build.Framework.Required]
    public string Licences { get; set; } = "";

    /// <summary>Notices of parts that are no packages, in the order in which they are written.</summary>
    public string[] Parts { get; set; } = Array.Empty<string>();

    /// <summary>The file to write.</summary>
    [Microsoft.Build.Framework.Required]
    public string Output { get; set; } = "";

    /// <inheritdoc/>
    public override bool Execute()
    {
        try
        {
            var packages = Files
                .Where(file => file.GetMetadata("NuGetPackageId").Length > 0 && !IsOwn(file.GetMetadata("FullPath")))
                .Select(file => Tuple.Create(file.GetMetadata("NuGetPackageId"), file.GetMetadata("NuGetPackageVersion")));
            string text = NoticeText.Write(NoticeText.Read(PackageRoot, Licences, packages), Parts.Select(File.ReadAllText));
            Directory.CreateDirectory(Path.GetDirectoryName(Output));
            File.WriteAllText(Output, text);
        }
        catch (InvalidDataException fault)
        {
            Log.LogError("{0}", fault.Message);
        }

        return !Log.HasLoggedErrors;
    }

    // projects count as packages too
    private bool IsOwn(string file)
    {
        return file.StartsWith(Sources, StringComparison.Ordinal) && !file.StartsWith(PackageRoot, StringComparison.Ordinal);
    }
}

/// <summary>A package, and the texts that have to go with it.</summary>
public sealed class NoticedPackage
{
    /// <summary>Its name and version.</summary>
    public string Name { get; set; }

    /// <summary>The expression of its licence, or "its own, below".</summary>
    public string Licence { get; set; }

    /// <summary>The copyright line, or the authors where it has none.</summary>
    public string Copyright { get; set; }

    /// <summary>Where it comes from; empty where it does not say.</summary>
    public string Url { get; set; }

    /// <summary>Its licence first, then notices of what it contains.</summary>
    public List<string> Texts { get; set; }
}

/// <summary>Reads packages and writes their notices; equal packages give equal bytes, whatever their order.</summary>
public static class NoticeText
{
    private static readonly Regex TextFile = new Regex("(licen[cs]e|notice)", RegexOptions.IgnoreCase);

    /// <summary>Reads what packages say of themselves.</summary>
    /// <exception cref="InvalidDataException">A package is not there, or has no licence that is known.</exception>
    public static List<NoticedPackage> Read(string root, string licences, IEnumerable<Tuple<string, string>> packages)
    {
        return packages.Distinct()
            .OrderBy(package => package.Item1, StringComparer.OrdinalIgnoreCase).ThenBy(package => package.Item2, StringComparer.Ordinal)
            .Select(package => Read(Path.Combine(root, package.Item1.ToLowerInvariant(), package.Item2.ToLowerInvariant()), licences,
                package.Item1, package.Item2))
            .ToList();
    }

    /// <summary>The whole text: a table, then each text once with the packages that it belongs to.</summary>
    public static string Write(List<NoticedPackage> packages, IEnumerable<string> parts)
    {
        List<string> texts = packages.SelectMany(package => package.Texts).Distinct().ToList();
        var result = new StringBuilder("THIRD-PARTY NOTICES\n\nThis program contains the parts below, which were not written for it.\n");
        result.Append("\n== Packages ==\n");
        foreach (NoticedPackage package in packages)
        {
            result.Append('\n').Append(package.Name).Append('\n');
            foreach (string line in new[] { package.Copyright, package.Url }.Where(line => line.Length > 0))
                result.Append("  ").Append(line).Append('\n');
            string numbers = string.Join(", ", package.Texts.Select(text => texts.IndexOf(text) + 1));
            result.Append("  licence: ").Append(package.Licence).Append("; text ").Append(numbers).Append('\n');
        }

        foreach (string part in parts) result.Append("\n== Other parts ==\n\n").Append(Plain(part)).Append('\n');
        for (int i = 0; i < texts.Count; i++)
            result.Append("\n== Text ").Append(i + 1).Append(" ==\n\n").Append(texts[i]).Append('\n');
        return result.ToString();
    }

    private static NoticedPackage Read(string folder, string licences, string id, string version)
    {
        string name = id + " " + version;
        string spec = Path.Combine(folder, id.ToLowerInvariant() + ".nuspec");
        if (!File.Exists(spec)) throw new InvalidDataException(name + ": no " + spec + "; restore the package first");
        XElement metadata = XDocument.Load(spec).Root.Elements().Single(element => element.Name.LocalName == "metadata");
        XElement licence = metadata.Elements().FirstOrDefault(element => element.Name.LocalName == "license");
        string expression = licence != null && (string)licence.Attribute("type") == "expression" ? licence.Value.Trim() : "";
        string named = licence != null && (string)licence.Attribute("type") == "file" ? Path.Combine(folder, licence.Value.Trim()) : "";
        List<string> files = Directory.GetFiles(folder).Where(file => TextFile.IsMatch(Path.GetFileName(file)) || file == named)
            .OrderBy(file => Path.GetFileName(file).IndexOf("licen", StringComparison.OrdinalIgnoreCase) < 0)
            .ThenBy(file => file, StringComparer.Ordinal).ToList();
        bool own = files.Any(file => file == named || Path.GetFileName(file).IndexOf("licen", StringComparison.OrdinalIgnoreCase) >= 0);
        string known = Path.Combine(licences, expression + ".txt");
        if (!own && (expression.Length == 0 || !File.Exists(known)))
        {
            throw new InvalidDataException(name + ": its licence is " + (expression.Length == 0 ? "not said" : expression)
                + "; put its text into " + known);
        }

        var texts = files.Select(file => Plain(File.ReadAllText(file))).ToList();
        if (!own) texts.Insert(0, Plain(File.ReadAllText(known)));
        string copyright = Value(metadata, "copyright");
        return new NoticedPackage
        {
            Name = name,
            Licence = expression.Length > 0 ? expression : "its own",
            Copyright = copyright.Length > 0 ? copyright : "by " + Value(metadata, "authors"),
            Url = Value(metadata, "projectUrl"),
            Texts = texts.Distinct().ToList(),
        };
    }

    private static string Value(XElement metadata, string name)
    {
        XElement element = metadata.Elements().FirstOrDefault(one => one.Name.LocalName == name);
        return element == null ? "" : Regex.Replace(element.Value, @"\s+", " ").Trim();
    }

    // one form of line ends, so that packages with the same text share it; of rich text its words
    private static string Plain(string text)
    {
        if (text.StartsWith(@"{\rtf", StringComparison.Ordinal))
        {
            text = Regex.Replace(text, @"\{\\(\*|fonttbl|colortbl)[^{}]*(\{[^{}]*\}[^{}]*)*\}", "");
            text = Regex.Replace(text, @"[\r\n]+", "");
            text = Regex.Replace(text, @"\\par(d?)\b ?", match => match.Groups[1].Length > 0 ? "" : "\n");
            text = Regex.Replace(text, @"\\'([0-9a-f]{2})", match => ((char)Convert.ToInt32(match.Groups[1].Value, 16)).ToString());
            text = Regex.Replace(text, @"\\[a-z]+-?[0-9]* ?|[{}]", "");
        }

        text = Regex.Replace(text.Replace("\r\n", "\n").Replace('\r', '\n'), @"[ \t]+\n", "\n");
        return text.Trim('\n', '\0', '\uFEFF');
    }
}
