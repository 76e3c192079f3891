using FedRLora.Abstractions.Ports;

namespace FedRLora.Silo.Storage;

/// <summary>
/// Links below a store's folder: what lies behind one belongs to somebody else as well, so it is read and never changed. The link
/// itself may be deleted or replaced.
/// </summary>
internal static class StoreLinks
{
    /// <summary>Whether a path is a link, also to nothing.</summary>
    public static bool IsLink(string path) => new FileInfo(path).LinkTarget is not null;

    /// <summary>Makes sure that no folder between a store's own and what is to be changed in it is a link.</summary>
    /// <exception cref="StoreUnavailableException">One is.</exception>
    public static void Check(string root, string path)
    {
        for (var folder = Path.GetDirectoryName(path)!; folder.Length > root.Length; folder = Path.GetDirectoryName(folder)!)
        {
            if (IsLink(folder)) throw Refusal(root, folder);
        }
    }

    /// <summary>Why nothing is changed there.</summary>
    public static StoreUnavailableException Refusal(string root, string link) =>
        new($"Store {root}: {Path.GetRelativePath(root, link)} is a link, and a store changes nothing behind one; "
            + "put the folder or file itself there, then try again.");
}
