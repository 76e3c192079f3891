namespace FedRLora.Silo.Storage;

/// <summary>What a blob key is, for every store: segments that are the same in a folder and in a URL.</summary>
internal static class BlobKeys
{
    /// <summary>Returns a key that is one.</summary>
    /// <exception cref="ArgumentException">It is none.</exception>
    public static string Check(string key) => IsKey(key) ? key : throw NotOne(key, nameof(key));

    /// <summary>Returns a prefix that keys may have: any number of whole segments, and the beginning of one.</summary>
    /// <exception cref="ArgumentException">No key begins so.</exception>
    public static string CheckPrefix(string prefix)
    {
        var folder = prefix.LastIndexOf('/');
        return (folder < 0 || IsKey(prefix[..folder])) && (folder == prefix.Length - 1 || IsSegment(prefix[(folder + 1)..]))
            ? prefix
            : throw NotOne(prefix, nameof(prefix));
    }

    /// <summary>Whether a text is a key.</summary>
    public static bool IsKey(string key) => key.Split('/').All(IsSegment);

    private static bool IsSegment(string segment) =>
        segment is [not '.', ..] && segment.All(static c => char.IsAsciiLetterOrDigit(c) || c is '.' or '-' or '_');

    private static ArgumentException NotOne(string key, string parameter) =>
        new($"\"{key}\" is no blob key: segments are letters, digits, dot, dash and underscore, and do not begin with a dot.", parameter);
}
