namespace FedRLora.Generator.Text;

/// <summary>
/// The vocabulary of the small world that tasks and stories share. Questions turn on short function words (not, but, from, than) and
/// pronouns: what those do is learned in minutes at this size, looking up an arbitrary word takes hours.
/// </summary>
internal static class Words
{
    public static readonly string[] Women = ["Anna", "Eva", "Mary", "Nina"];
    public static readonly string[] Men = ["Tom", "Ben", "Sam", "Paul"];
    public static readonly string[] People = [.. Women, .. Men];

    public static readonly string[] Objects = ["ball", "lamp", "book", "key", "cup", "hat", "box", "ring", "coin", "map", "pen", "bag"];
    public static readonly string[] Places =
    [
        "kitchen", "garden", "attic", "shed", "office", "barn", "park", "school", "cellar", "market", "church", "tower",
    ];
    public static readonly string[] Deeds =
    [
        "cooked", "swam", "sang", "painted", "slept", "danced", "fished", "wrote", "read", "rested", "jogged", "baked",
    ];

    public static readonly string[] Reviewed = ["soup", "film", "room", "service", "music", "bread", "view", "story", "staff", "garden",
        "sound", "plot", "bed", "tea", "show", "pool"];
    public static readonly string[] Praise =
    [
        "good", "nice", "lovely", "great", "fine", "superb", "clean", "fresh", "pleasant", "charming", "perfect", "smart",
    ];
    public static readonly string[] Blame =
    [
        "bad", "poor", "awful", "dull", "dirty", "ugly", "nasty", "stale", "boring", "horrid", "broken", "silly",
    ];

    public static readonly string[] Openers =
    [
        "One day", "Today", "Last week", "That night", "In spring", "Once", "Some time ago", "In town",
    ];

    public static string She(string person) => Women.Contains(person) ? "she" : "he";
}
