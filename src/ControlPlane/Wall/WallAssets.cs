using System.Collections.Frozen;
using System.Reflection;
using System.Security.Cryptography;
using System.Text;

namespace FedRLora.ControlPlane.Wall;

/// <summary>A file of the wall.</summary>
/// <param name="Type">Its media type.</param>
/// <param name="Content">Its bytes.</param>
internal sealed record WallAsset(string Type, byte[] Content);

/// <summary>
/// The files of the wall, which are embedded in the program. Modules import each other, so one hash stands for all of them.
/// </summary>
internal static class WallAssets
{
    private const string Prefix = "wall/";

    private static readonly Dictionary<string, string> Types = new(StringComparer.Ordinal)
    {
        [".html"] = "text/html; charset=utf-8", [".css"] = "text/css; charset=utf-8", [".js"] = "text/javascript; charset=utf-8",
        [".svg"] = "image/svg+xml",
    };

    private static readonly FrozenDictionary<string, WallAsset> Files = Read().ToFrozenDictionary(StringComparer.Ordinal);

    /// <summary>Changes with any byte of any file.</summary>
    public static string Hash { get; } = HashOf(Files);

    /// <summary>Where the files are: an address that never answers with anything else.</summary>
    public static string Root { get; } = $"/assets/{Hash}";

    /// <summary>The names of all files.</summary>
    public static IEnumerable<string> Names => Files.Keys;

    /// <summary>A file by its name; null where there is none.</summary>
    public static WallAsset? Find(string name) => Files.GetValueOrDefault(name);

    /// <summary>A page or a style sheet as text.</summary>
    public static string Text(string name) => Encoding.UTF8.GetString(Files[name].Content);

    private static IEnumerable<KeyValuePair<string, WallAsset>> Read()
    {
        var program = Assembly.GetExecutingAssembly();
        foreach (var resource in program.GetManifestResourceNames().Where(static name => name.StartsWith(Prefix, StringComparison.Ordinal)))
        {
            using var stream = program.GetManifestResourceStream(resource)!;
            var content = new byte[stream.Length];
            stream.ReadExactly(content);
            yield return new(resource[Prefix.Length..], new(Types[Path.GetExtension(resource)], content));
        }
    }

    private static string HashOf(FrozenDictionary<string, WallAsset> files)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        foreach (var (name, asset) in files.OrderBy(static file => file.Key, StringComparer.Ordinal))
        {
            hash.AppendData(Encoding.UTF8.GetBytes(name));
            hash.AppendData(SHA256.HashData(asset.Content));
        }

        return Convert.ToHexStringLower(hash.GetHashAndReset())[..16];
    }
}
