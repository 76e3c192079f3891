namespace FedRLora.Generator.Text;

/// <summary>The vocabulary of the small world that tasks and stories share.</summary>
internal static class Words
{
    public static readonly string[] Women = ["Anna", "Eva", "Mary", "Lucy", "Nina", "Rosa", "Emma", "Clara"];
    public static readonly string[] Men = ["Tom", "Ben", "Sam", "Max", "Paul", "Hugo", "Leo", "Carl"];
    public static readonly string[] People = [.. Women, .. Men];

    public static readonly string[] Objects = ["ball", "lamp", "book", "key", "cup", "hat", "box", "coin", "ring", "map", "pen", "bag", "clock", "rope", "doll", "kite"];
    public static readonly string[] Places = ["kitchen", "garden", "attic", "shed", "office", "cellar", "barn", "park", "school", "market", "church", "tower", "harbour", "library", "station", "castle"];
    public static readonly string[] Days = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
    public static readonly string[] Deeds = ["cooked", "swam", "sang", "painted", "slept", "danced", "read", "wrote", "prayed", "shopped", "cleaned", "fished", "rested", "jogged", "sewed", "baked"];

    public static readonly string[] Reviewed = ["soup", "film", "room", "service", "music", "bread", "view", "story", "staff", "garden", "sound", "plot", "bed", "tea", "show", "pool"];
    public static readonly string[] Praise = ["good", "nice", "lovely", "great", "fine", "superb", "clean", "fresh", "pleasant", "charming", "perfect", "smart"];
    public static readonly string[] Blame = ["bad", "poor", "awful", "dull", "dirty", "ugly", "nasty", "stale", "boring", "horrid", "broken", "silly"];

    public static readonly string[] Openers = ["One day", "Today", "Last week", "That night", "In spring", "Once", "Some time ago", "In town"];

    public static string She(string person) => Women.Contains(person) ? "she" : "he";
}
