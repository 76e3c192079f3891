using System.Text.Json;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Tensors;
using static TorchSharp.torch;

namespace FedRLora.Training.Tests.Golden;

/// <summary>One set of reference numbers.</summary>
/// <param name="Kind">What it is, told by what its files hold: <c>model/llama</c>, <c>method/peft/lora+use_dora</c>.</param>
/// <param name="Folder">Where it lies, relative to the root, with slashes.</param>
/// <param name="Part">Which of several sets in one folder; empty where the folder is one.</param>
public sealed record Fixture(string Kind, string Folder, string Part = "")
{
    /// <summary>As data of a theory: <c>folder</c> or <c>folder#part</c>.</summary>
    public string Place => Part.Length > 0 ? $"{Folder}#{Part}" : Folder;

    public override string ToString() => $"{Kind} ({Place})";
}

/// <summary>Every set of reference numbers below a folder, at any depth and under any name, and the files that belong to none.</summary>
public sealed class FixtureTree
{
    private readonly SortedSet<string> _unknown = new(StringComparer.Ordinal);
    private readonly List<Fixture> _fixtures = [];

    /// <summary>Walks some folders of a root; those that are absent hold nothing.</summary>
    public FixtureTree(string root, params IEnumerable<string> below)
    {
        foreach (var folder in below.Where(folder => Directory.Exists(Path.Combine(root, folder)))) Walk(new(root, folder));
    }

    /// <summary>In the order of their places.</summary>
    public IReadOnlyList<Fixture> All => _fixtures;

    /// <summary>Files that no set of numbers takes, relative to the root.</summary>
    public IReadOnlyCollection<string> Unknown => _unknown;

    private void Walk(FixtureFolder folder)
    {
        var data = folder.Files.Where(static file => !file.EndsWith(".md", StringComparison.Ordinal));
        _unknown.UnionWith(data.Select(file => $"{folder.Path}/{file}"));
        foreach (var (kind, part, files) in FixtureKinds.Of(folder))
        {
            if (kind.Length > 0) _fixtures.Add(new(kind, folder.Path, part));
            _unknown.ExceptWith(files.Select(file => $"{folder.Path}/{file}"));
        }

        var below = folder.Folders;
        var owned = FixtureKinds.OwnedBy(folder, below);
        foreach (var child in below.Where(child => !owned.Contains(child.Name))) Walk(child);
    }
}

/// <summary>A folder below the root, as recognizers see it.</summary>
internal sealed class FixtureFolder(string root, string path)
{
    private readonly Dictionary<string, JsonElement?> _documents = new(StringComparer.Ordinal);

    /// <summary>Relative to the root, with slashes.</summary>
    public string Path => path;

    public string Name => System.IO.Path.GetFileName(path);

    public IReadOnlyList<string> Files { get; } = NamesOf(Directory.GetFiles(System.IO.Path.Combine(root, path)));

    public IReadOnlyList<FixtureFolder> Folders
    {
        get
        {
            var names = NamesOf(Directory.GetDirectories(System.IO.Path.Combine(root, path)));
            return [.. names.Select(name => new FixtureFolder(root, $"{path}/{name}"))];
        }
    }

    public FixtureFolder? Parent => System.IO.Path.GetDirectoryName(path) is { Length: > 0 } parent ? new(root, parent) : null;

    public bool Has(params ReadOnlySpan<string> files)
    {
        foreach (var file in files)
        {
            if (!Files.Contains(file)) return false;
        }

        return true;
    }

    /// <summary>An object that a file holds; null where there is no such file or it holds something else.</summary>
    public JsonElement? Object(string file)
    {
        if (_documents.TryGetValue(file, out var known)) return known;
        return _documents[file] = Has(file) ? ObjectIn(File.ReadAllText(Full(file))) : null;
    }

    /// <summary>The object in a file's first line; null likewise.</summary>
    public JsonElement? FirstLine(string file) => Lines(file).FirstOrDefault() is { } line ? ObjectIn(line) : null;

    /// <summary>Names of a file's tensors; none where it is no safetensors file.</summary>
    public IReadOnlyCollection<string> Tensors(string file)
    {
        if (!Has(file) || !file.EndsWith(".safetensors", StringComparison.Ordinal)) return [];
        try
        {
            using var opened = SafetensorsFile.Open(Full(file));
            return [.. opened.Header.Tensors.Keys];
        }
        catch (BadInputException)
        {
            return []; // then nothing recognizes it
        }
    }

    /// <summary>A tensor of float32; null where the file has no such one.</summary>
    public Tensor? Values(string file, string name)
    {
        if (!Tensors(file).Contains(name)) return null;
        using var opened = SafetensorsFile.Open(Full(file));
        var info = opened.Describe(name);
        return info.Dtype == SafetensorsDtype.F32 ? tensor(opened.ReadFloat32(name), [.. info.Shape]) : null;
    }

    /// <summary>A file's lines; none where there is no such file.</summary>
    public IEnumerable<string> Lines(string file) => Has(file) ? File.ReadLines(Full(file)) : [];

    private string Full(string file) => System.IO.Path.Combine(root, path, file);

    private static IReadOnlyList<string> NamesOf(IEnumerable<string> paths) =>
        [.. paths.Select(static path => System.IO.Path.GetFileName(path)).Order(StringComparer.Ordinal)];

    private static JsonElement? ObjectIn(string text)
    {
        try
        {
            return JsonDocument.Parse(text).RootElement is { ValueKind: JsonValueKind.Object } found ? found : null;
        }
        catch (JsonException)
        {
            return null;
        }
    }
}
