using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using FedRLora.Training.Data.Tokenizers;

namespace FedRLora.Benchmarks;

/// <summary>
/// Megabytes of UTF-8 that are encoded in a second, beside the npm package @huggingface/tokenizers on the same texts: in turn,
/// several times, medians. Both must give the same ids.
/// </summary>
internal static class TokenizerBenchmark
{
    private const int Repetitions = 9;
    private const int WarmUps = 3; // until both runtimes have compiled what is hot
    private const string Package = "@huggingface/tokenizers@0.2.0";

    public static void Run()
    {
        var root = CommandLine.Root();
        var packages = Install(Path.Combine(root, "artifacts", "npm"));
        var texts = new (string Name, string[] Rows)[] { ("rows", SampleRows(root)), ("sources", Sources(root)) };
        foreach (var (name, rows) in texts)
            Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{name}: {rows.Length} texts, {Megabytes(rows):F2} MB"));
        Console.WriteLine("\n| tokenizer | texts | MB/s | npm MB/s | ratio (median of pairs, "
            + "lowest to highest) | ids |\n| --- | --- | --- | --- | --- | --- |");
        foreach (var folder in TokenizerFolders(root))
        {
            foreach (var (name, rows) in texts) Console.WriteLine(Measure(root, packages, folder, name, rows));
        }
    }

    private static string Measure(string root, string packages, string folder, string name, string[] rows)
    {
        var tokenizer = Tokenizer.Load(folder);
        using var other = new NodeTokenizer(Path.Combine(root, "tests", "Benchmarks", "tokenizers.mjs"), packages, folder, rows);
        var (ours, theirs) = (0u, 0u);
        for (var warmUp = 0; warmUp < WarmUps; warmUp++) (ours, theirs) = (Encode(tokenizer, rows).Sum, other.Encode().Sum);
        var pairs = Enumerable.Range(0, Repetitions)
            .Select(_ => (Ours: Encode(tokenizer, rows).Seconds, Theirs: other.Encode().Seconds)).ToArray();
        var size = Megabytes(rows);
        var ratios = pairs.Select(static pair => pair.Theirs / pair.Ours).Order().ToArray();
        return string.Create(CultureInfo.InvariantCulture,
            $"| {Path.GetFileName(folder)} | {name} | {size / Median(pairs.Select(static pair => pair.Ours)):F1} | "
                + $"{size / Median(pairs.Select(static pair => pair.Theirs)):F1} | {ratios[Repetitions / 2]:F1} ({ratios[0]:F1} to "
                + $"{ratios[^1]:F1}) | {(ours == theirs ? "equal" : "different")} |");
    }

    private static (double Seconds, uint Sum) Encode(Tokenizer tokenizer, string[] rows)
    {
        var started = Stopwatch.GetTimestamp();
        var sum = 0u;
        foreach (var row in rows)
        {
            foreach (var id in tokenizer.Encode(row, addSpecialTokens: true)) sum = sum * 31 + (uint)id;
        }

        return (Stopwatch.GetElapsedTime(started).TotalSeconds, sum);
    }

    private static string[] SampleRows(string root) =>
        [.. Directory.GetFiles(Path.Combine(root, "samples", "tasks"), "*.jsonl", SearchOption.AllDirectories).Order(StringComparer.Ordinal)
            .SelectMany(File.ReadLines).Select(static line =>
            {
                using var row = JsonDocument.Parse(line);
                return row.RootElement.GetProperty("prompt").GetString() + " " + row.RootElement.GetProperty("completion").GetString();
            })];

    // Fewer words that come again, more marks and digits.
    private static string[] Sources(string root) => [.. Directory.GetFiles(Path.Combine(root, "src"), "*.cs", SearchOption.AllDirectories)
        .Where(static path => !path.Contains($"{Path.DirectorySeparatorChar}obj{Path.DirectorySeparatorChar}", StringComparison.Ordinal))
        .Order(StringComparer.Ordinal).Select(File.ReadAllText)];

    private static IEnumerable<string> TokenizerFolders(string root)
    {
        var shared = Environment.GetEnvironmentVariable("FEDRLORA_SHARED") is { Length: > 0 } given
            ? given
            : Path.Combine(root, "..", "shared");
        var folder = Path.Combine(shared, "tokenizers");
        return Directory.Exists(folder)
            ? Directory.GetDirectories(folder).Order(StringComparer.Ordinal).Append(Path.Combine(shared, "models", "stories260k"))
            : [Path.Combine(root, "samples", "model")];
    }

    private static string Install(string folder)
    {
        Directory.CreateDirectory(folder);
        if (!Directory.Exists(Path.Combine(folder, "node_modules", "@huggingface", "tokenizers")))
        {
            using var npm = Process.Start("npm", ["install", "--prefix", folder, "--silent", Package]);
            npm.WaitForExit();
        }

        return folder;
    }

    private static double Megabytes(string[] rows) => rows.Sum(static row => (long)System.Text.Encoding.UTF8.GetByteCount(row)) / 1e6;

    private static double Median(IEnumerable<double> values) => values.Order().ElementAt(Repetitions / 2);
}

/// <summary>The npm package in a process of its own, which encodes all texts once for each line it is sent.</summary>
internal sealed class NodeTokenizer : IDisposable
{
    private readonly string _texts = Path.GetTempFileName();
    private readonly Process _node;

    public NodeTokenizer(string script, string packages, string folder, string[] rows)
    {
        File.WriteAllText(_texts, JsonSerializer.Serialize(rows));
        _node = Process.Start(new ProcessStartInfo("node", [script, packages, folder, _texts])
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
        })!;
    }

    public (double Seconds, uint Sum) Encode()
    {
        _node.StandardInput.WriteLine();
        _node.StandardInput.Flush();
        var answer = (_node.StandardOutput.ReadLine() ?? throw new InvalidOperationException("node has ended; its error is above"))
            .Split(' ');
        return (double.Parse(answer[0], CultureInfo.InvariantCulture), uint.Parse(answer[1], CultureInfo.InvariantCulture));
    }

    public void Dispose()
    {
        _node.StandardInput.Close();
        _node.WaitForExit();
        _node.Dispose();
        File.Delete(_texts);
    }
}
