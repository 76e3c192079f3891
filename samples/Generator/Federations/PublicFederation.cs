namespace FedRLora.Generator.Federations;

/// <summary>Deals rows of public tasks out to the clients of a federation, each row to one client.</summary>
/// <param name="Name">The folder of its files.</param>
/// <param name="Clients">The clients; they take rows in this order, one each in turn.</param>
internal sealed record PublicFederation(string Name, IReadOnlyList<SkewedShare> Clients)
{
    /// <summary>The rows of a client's file; a plan takes as many from the front as it wants.</summary>
    public const int Rows = 200;

    public static readonly IReadOnlyList<PublicFederation> All =
    [
        new("skew",
        [
            new("first", "trec", 0, 1, 2), new("second", "trec", 3, 4, 5), new("third", "trec", 0, 2, 4), new("fourth", "trec", 1, 3, 5),
        ]),
        new("tasks", [new("trec", "trec"), new("sst2", "sst2"), new("ag_news", "ag_news"), new("cola", "cola")]),
        new("mixed",
        [
            new("trec-a", "trec", 0, 1, 2), new("trec-b", "trec", 3, 4, 5), new("sst2-a", "sst2"), new("sst2-b", "sst2"),
            new("ag_news-a", "ag_news", 0, 1), new("ag_news-b", "ag_news", 2, 3), new("cola-a", "cola"), new("cola-b", "cola"),
        ]),
    ];

    /// <summary>Writes the files of all federations, and the tasks' test rows.</summary>
    /// <param name="source">A folder with TASK/train.jsonl and TASK/test.jsonl.</param>
    /// <param name="target">Where to.</param>
    public static void WriteAll(string source, string target)
    {
        foreach (var task in All.SelectMany(static federation => federation.Clients).Select(static client => client.Task).Distinct())
        {
            Directory.CreateDirectory(target);
            File.Copy(Path.Combine(source, task, "test.jsonl"), Path.Combine(target, $"{task}-test.jsonl"), overwrite: true);
        }

        foreach (var federation in All) federation.Write(source, Path.Combine(target, federation.Name));
    }

    private void Write(string source, string target)
    {
        var pools = Clients.Select(static client => client.Task).Distinct().ToDictionary(
            static task => task, task => LabelledRow.Read(Path.Combine(source, task, "train.jsonl")).ToList(), StringComparer.Ordinal);
        var labels = pools.ToDictionary(
            static pool => pool.Key,
            static pool => pool.Value.Select(static row => row.Label).Distinct().Order(StringComparer.Ordinal).ToList(),
            StringComparer.Ordinal);
        var (files, together) = (Clients.ToDictionary(static client => client.Id, static _ => new List<string>()), new List<string>());
        for (var place = 0; place < Rows; place++)
        {
            foreach (var client in Clients)
            {
                var pool = pools[client.Task];
                var next = pool.FindIndex(row => client.Takes(place, labels[client.Task].IndexOf(row.Label)));
                if (next < 0) throw new InvalidDataException($"{Name}: {client.Task} has too few rows for {client.Id}");
                files[client.Id].Add(pool[next].Line);
                together.Add(pool[next].Line);
                pool.RemoveAt(next);
            }
        }

        Directory.CreateDirectory(target);
        foreach (var (id, lines) in files) File.WriteAllLines(Path.Combine(target, $"{id}.jsonl"), lines);
        File.WriteAllLines(Path.Combine(target, "together.jsonl"), together);
    }
}
