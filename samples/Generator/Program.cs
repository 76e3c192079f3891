using FedRLora.Generator.Measures;
using FedRLora.Generator.Tasks;
using FedRLora.Generator.Text;

switch (args)
{
    case ["tasks", "--out", var folder]:
        TaskFiles.Write(folder);
        return 0;
    case ["baselines", var folder]:
        Baselines.Print(folder, Console.Out);
        return 0;
    case ["tokenizer", "--out", var folder]:
        var corpus = new Corpus("tokenizer");
        Directory.CreateDirectory(folder);
        var stories = Enumerable.Range(0, 20_000).Select(_ => corpus.Next()).Select(s => s.Facts + s.Conclusion).ToArray();
        foreach (var s in stories.Take(25)) Console.WriteLine(s);
        var merges = BpeTrainer.Train(stories, 1000);
        Console.WriteLine(merges.Count + " " + string.Join(",", merges.TakeLast(20)));
        BpeTrainer.Write(folder, merges, 128);
        return 0;
    default:
        await Console.Error.WriteLineAsync("usage: generator tasks --out FOLDER | baselines FOLDER");
        return 2;
}
