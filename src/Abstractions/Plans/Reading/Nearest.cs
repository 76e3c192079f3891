namespace FedRLora.Abstractions.Plans.Reading;

/// <summary>The name somebody probably meant.</summary>
internal static class Nearest
{
    /// <summary>What other tools call it.</summary>
    private static readonly Dictionary<string, string> Synonyms = new(StringComparer.Ordinal)
    {
        ["r"] = "rank", ["lr"] = "learningRate", ["epochs"] = "steps", ["optimizer"] = "serverOptimizer", ["base_model"] = "model",
    };

    /// <summary>The nearest of <paramref name="known"/>; null if none is near.</summary>
    public static string? Of(string given, IEnumerable<string> known)
    {
        var names = known.ToList();
        if (Synonyms.TryGetValue(given, out var synonym) && names.Contains(synonym))
            return synonym;
        var plain = Plain(given);
        var best = names.Select(name => (Name: name, Distance: Distance(plain, Plain(name)))).OrderBy(static pair => pair.Distance)
            .FirstOrDefault();
        if (best.Name is not null && best.Distance <= Math.Min(3, Math.Max(1, plain.Length / 3)))
            return best.Name;
        return names.Where(name => name.Length > 3 && plain.Contains(Plain(name), StringComparison.Ordinal))
            .MaxBy(static name => name.Length);
    }

    private static string Plain(string name) =>
        name.Replace("_", "", StringComparison.Ordinal).Replace("-", "", StringComparison.Ordinal).ToUpperInvariant();

    /// <summary>Letters to insert, delete, replace or swap with their neighbour.</summary>
    private static int Distance(string a, string b)
    {
        if (Math.Abs(a.Length - b.Length) > 3)
            return int.MaxValue;
        var table = new int[a.Length + 1, b.Length + 1];
        for (var i = 0; i <= a.Length; i++)
        {
            for (var j = 0; j <= b.Length; j++)
            {
                if (i == 0 || j == 0)
                {
                    table[i, j] = i + j;
                    continue;
                }

                var cost = a[i - 1] == b[j - 1] ? 0 : 1;
                table[i, j] = Math.Min(Math.Min(table[i - 1, j], table[i, j - 1]) + 1, table[i - 1, j - 1] + cost);
                if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                    table[i, j] = Math.Min(table[i, j], table[i - 2, j - 2] + 1);
            }
        }

        return table[a.Length, b.Length];
    }
}
