using System.Text;
using FedRLora.Abstractions;
using FedRLora.Training.Adapters.Peft;
using FedRLora.Training.Gguf;
using FedRLora.Training.Models;
using FedRLora.Training.Models.Weights;

namespace FedRLora.Training.Inputs;

/// <summary>Says of a path that was given for one thing what it is instead, and where that belongs.</summary>
public static class GivenPath
{
    private const string Adapter = "an adapter";
    private const string Model = "a model";
    private const string Run = "a run";
    private const int Shown = 3;
    private const int LongestStart = 4096;

    // What a file of rows in another form begins with, and how its rows are got out of it.
    private static readonly (byte[] Begins, string Is)[] Forms =
    [
        ([0x1f, 0x8b], "is compressed with gzip; unpack it with gunzip"),
        ([0x28, 0xb5, 0x2f, 0xfd], "is compressed with zstd; unpack it with unzstd"),
        ([0xfd, .. "7zXZ"u8], "is compressed with xz; unpack it with unxz"),
        ([.. "BZh"u8], "is compressed with bzip2; unpack it with bunzip2"),
        ([.. "PK\x03\x04"u8], "is a ZIP archive (or a workbook in one); unpack it"),
        ([.. "PAR1"u8], "is a Parquet file; write its rows as JSON Lines, for example with pandas: "
            + "read_parquet(FILE).to_json(OUT, orient=\"records\", lines=True)"),
        ([.. "ARROW1"u8], "is an Arrow file; write its rows as JSON Lines, for example with datasets: "
            + "Dataset.from_file(FILE).to_json(OUT)"),
        ([.. "SQLite format 3"u8], "is an SQLite database; write its rows as JSON Lines"),
        ([0xff, 0xfe], "is text in UTF-16; save it in UTF-8"),
        ([0xfe, 0xff], "is text in UTF-16; save it in UTF-8"),
        ([.. "version https://git-lfs"u8], "is a Git LFS pointer, not the file itself; fetch it with git lfs pull"),
    ];

    /// <summary>A plain file, so that it can be read more than once and ends.</summary>
    /// <param name="path">The file; one that is not there is left to who opens it.</param>
    /// <exception cref="BadInputException">A folder, a pipe, a socket or a device.</exception>
    public static void RequirePlainFile(string path)
    {
        if (Directory.Exists(path)) throw new BadInputException($"{path}: is a folder; give a file in it");
        if (FileStamp.KindOf(path) is { } kind and not FileStamp.PlainFile)
        {
            throw new BadInputException($"{path}: is {kind} and no plain file; "
                + "it would be read more than once, so write what it gives to a file first");
        }
    }

    /// <summary>A file that may hold rows.</summary>
    /// <param name="path">As in <see cref="RequirePlainFile"/>.</param>
    /// <exception cref="BadInputException">It is none, or holds rows in another form.</exception>
    internal static void RequireRows(string path)
    {
        const string Wanted = "rows are JSON Lines, one object a line";
        if (Directory.Exists(path))
            throw new BadInputException($"{path}: is {FolderOf(path) ?? "a folder"} and no file of rows; give the file, {Wanted}");
        RequirePlainFile(path);
        if (!File.Exists(path)) return;
        var start = StartOf(path);
        if (Array.Find(Forms, form => start.AsSpan().StartsWith(form.Begins)).Is is { } other)
            throw new BadInputException($"{path}: {other}; {Wanted}");
        if (TextFormOf(Encoding.UTF8.GetString(start).TrimStart('\uFEFF')) is { } form)
            throw new BadInputException($"{path}: {form}; {Wanted}");
    }

    /// <summary>A folder or a GGUF file that may be a model.</summary>
    /// <param name="path">The folder or file.</param>
    /// <exception cref="BadInputException">It is not there, is something else, or a file in it is no plain file.</exception>
    internal static void RequireModel(string path)
    {
        if (FileOf(path) is { } file)
        {
            if (file == FileStamp.PlainFile && IsGguf(path)) return;
            if (file == FileStamp.PlainFile && FormOf(path) is { } form)
                throw new BadInputException($"{path}: {form}; a model is a Hugging Face folder or a GGUF file");
            throw new BadInputException($"{path}: is {file} and no model; give a GGUF file, or the folder with config.json, tokenizer.json "
                + "and the weights");
        }

        if (!Directory.Exists(path))
        {
            var kind = Path.GetExtension(path) == GgufFile.Extension ? "file" : "folder";
            throw new BadInputException($"{path}: no such {kind}; give a Hugging Face model folder or a GGUF file");
        }

        if (GgufIn(path) is { } inside)
            throw new BadInputException($"{path}: has no {ModelConfig.FileName} and holds {Path.GetFileName(inside)}; give that file");
        foreach (var (_, part, _) in ModelFiles.Of(path)) RequirePlainFile(part);
        var what = FolderOf(path);
        if (what is null or Model) return;
        var adapter = what == Adapter ? ", and this one with --adapter" : "";
        throw new BadInputException($"{path}: is {what} and no model; give the folder of the base model as the model{adapter}");
    }

    /// <summary>A folder that may be an adapter.</summary>
    /// <param name="folder">The folder.</param>
    /// <exception cref="BadInputException">It is not there, is something else, or a file in it is no plain file.</exception>
    internal static void RequireAdapter(string folder)
    {
        if (FileOf(folder) is { } file)
        {
            if (file == FileStamp.PlainFile && IsGguf(folder))
            {
                throw new BadInputException($"{folder}: is a GGUF file; adapters are read from PEFT's layout, "
                    + $"the folder with {PeftConfig.FileName} and {PeftAdapter.TensorFile}");
            }

            throw new BadInputException(
                $"{folder}: is {file} and no adapter; give the folder with {PeftConfig.FileName} and {PeftAdapter.TensorFile}");
        }

        if (!Directory.Exists(folder)) throw new BadInputException($"{folder}: no such folder; give an adapter folder in PEFT's layout");
        foreach (var name in new[] { PeftConfig.FileName, PeftAdapter.TensorFile }) RequirePlainFile(Path.Combine(folder, name));
        if (File.Exists(Path.Combine(folder, PeftConfig.FileName))) return;
        throw new BadInputException(FolderOf(folder) switch
        {
            Model => $"{folder}: is a model and no adapter (no {PeftConfig.FileName} in it); give it with --model",
            Run => $"{folder}: is a run and no adapter; give {Path.Combine(folder, "adapters")}/CLIENT, which fedrlora export writes",
            { } other => $"{folder}: is {other} and no adapter; give one with {PeftConfig.FileName} in it",
            null => $"{folder}: is no adapter (no {PeftConfig.FileName} in it); give an adapter folder in PEFT's layout",
        });
    }

    /// <summary>What is at a path that is no folder, as the end of "it is"; null where nothing is.</summary>
    public static string? FileOf(string path)
    {
        if (!File.Exists(path)) return null; // which finds a link to nothing, too
        if (FileStamp.KindOf(path) is { } kind) return kind;
        return OperatingSystem.IsLinux() && new FileInfo(path).LinkTarget is not null ? "a link that leads nowhere" : FileStamp.PlainFile;
    }

    /// <summary>What a folder is, as the end of "it is"; null for one that is nothing known.</summary>
    public static string? FolderOf(string folder)
    {
        bool Has(string name) => File.Exists(Path.Combine(folder, name));
        if (!Directory.Exists(folder)) return null;
        if (Has("run.json")) return Run;
        if (Has(PeftConfig.FileName) && !ModelWeights.FilesOf(folder).Any(Has)) return Adapter;
        if (Has("config.json")) return Model;
        if (Directory.Exists(Path.Combine(folder, "snapshots")))
            return "a folder of the Hugging Face cache (what it caches is in its snapshots)";
        return Within(folder, PeftConfig.FileName, "adapters")
            ?? Within(folder, "run.json", "runs")
            ?? Within(folder, "config.json", "models");
    }

    /// <summary>Whether a folder is an adapter.</summary>
    public static bool IsAdapter(string folder) => FolderOf(folder) == Adapter;

    private static string? Within(string folder, string file, string kind)
    {
        try
        {
            var found = Directory.EnumerateDirectories(folder).Where(inner => File.Exists(Path.Combine(inner, file)))
                .Take(Shown + 1).Order(StringComparer.Ordinal).ToList();
            var more = found.Count > Shown ? ", ..." : "";
            return found.Count == 0 ? null : $"a folder of {kind} ({string.Join(", ", found.Take(Shown))}{more})";
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            return null; // who reads the folder says what is wrong with it
        }
    }

    /// <summary>A GGUF file in a folder that is no model itself; null where there is none.</summary>
    internal static string? GgufIn(string folder) => !Directory.Exists(folder) || File.Exists(Path.Combine(folder, ModelConfig.FileName))
        ? null
        : Directory.EnumerateFiles(folder, "*" + GgufFile.Extension).Order(StringComparer.Ordinal).FirstOrDefault();

    // What a file is called is enough to be told by who reads it what is wrong in it.
    private static bool IsGguf(string path) => StartOf(path).AsSpan().StartsWith("GGUF"u8)
        || (Path.GetExtension(path) == GgufFile.Extension && FormOf(path) is null);

    private static string? FormOf(string path)
    {
        var start = StartOf(path);
        return Array.Find(Forms, form => start.AsSpan().StartsWith(form.Begins)).Is;
    }

    private static byte[] StartOf(string path)
    {
        try
        {
            using var file = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite, bufferSize: 0);
            var start = new byte[LongestStart];
            return start[..file.ReadAtLeast(start, LongestStart, throwOnEndOfStream: false)];
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw new BadInputException($"{path}: cannot be read: {exception.Message}", exception);
        }
    }

    // What is no line of JSON at all; a line that is one, or nearly, is left to who reads lines.
    private static string? TextFormOf(string text)
    {
        const string AsObject = "write each row as an object with the columns as keys";
        var lines = text.TrimStart().Split('\n', 2);
        var line = lines[0].TrimEnd();
        if (line.StartsWith('[') && line[1..].TrimStart() is "" or ['{', ..])
            return "is one JSON array; write each object of it on a line of its own, for example with jq -c '.[]'";
        if (line == "{" || (line.StartsWith('{') && line.EndsWith(',') && lines.Length > 1 && !lines[1].TrimStart().StartsWith('{')))
            return "is JSON with line breaks inside of objects; write each object on a line of its own, for example with jq -c .";
        if (line.StartsWith('<')) return "is HTML or XML; write each row as an object";
        if (line == "---" || line.StartsWith("- ", StringComparison.Ordinal)) return "is YAML; write each row as an object";
        if (line is ['{' or '[', ..] || (line.StartsWith('"') && !line.Contains("\",", StringComparison.Ordinal))) return null;
        if (line.Contains('\t', StringComparison.Ordinal)) return $"is a table with tabs between its columns; {AsObject}";
        return line.AsSpan().ContainsAny(',', ';') ? $"is a table with commas between its columns (CSV); {AsObject}" : null;
    }
}
