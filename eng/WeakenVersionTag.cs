#nullable disable // compiled by MSBuild's task factory, which has no nullable context
using System;
using System.IO;
using System.Linq;
using System.Text;

/// <summary>
/// Build step: marks one libstdc++ version requirement of an ELF library as weak (VER_FLG_WEAK in .gnu.version_r), so that
/// the loader warns instead of refusing where the host's libstdc++ lacks the tag. Works on a copy in the output folder,
/// never on the package's file (the copy may be a hard link to it, so it is replaced, not written). Does nothing where the
/// host has the tag (unless the copy is for other hosts) or the library does not ask for it.
/// </summary>
public sealed class WeakenVersionTag : Microsoft.Build.Utilities.Task
{
    private const string Tag = "GLIBCXX_3.4.32";

    private static readonly string[] HostLibraries =
    {
        "/usr/lib/x86_64-linux-gnu/libstdc++.so.6", "/lib/x86_64-linux-gnu/libstdc++.so.6",
        "/usr/lib64/libstdc++.so.6", "/lib64/libstdc++.so.6", "/usr/lib/libstdc++.so.6",
    };

    /// <summary>The library in the output folder.</summary>
    [Microsoft.Build.Framework.Required]
    public string File { get; set; } = "";

    /// <summary>Whether the copy goes to other machines, so that what this one has does not count.</summary>
    public bool ForOtherHosts { get; set; }

    /// <inheritdoc/>
    public override bool Execute()
    {
        if (!System.IO.File.Exists(File)) return true;
        string host = HostLibraries.FirstOrDefault(System.IO.File.Exists);
        if (!ForOtherHosts && (host == null || HostHasTag(host))) return true;
        byte[] image = System.IO.File.ReadAllBytes(File);
        if (!ElfVersionNeeds.Weaken(image, Tag)) return true;
        DateTime written = System.IO.File.GetLastWriteTimeUtc(File);
        string temporary = File + ".weakened";
        System.IO.File.WriteAllBytes(temporary, image);
        System.IO.File.SetLastWriteTimeUtc(temporary, written); // the copy step then sees an unchanged file
        System.IO.File.Delete(File);
        System.IO.File.Move(temporary, File);
        Log.LogMessage(Microsoft.Build.Framework.MessageImportance.High, ForOtherHosts
            ? "{0}: hosts whose libstdc++ has no {1} can load it; the requirement is marked weak in the copy."
            : "{0}: this host's libstdc++ has no {1}; the requirement is marked weak in the copy.", File, Tag);
        return true;
    }

    private static bool HostHasTag(string library) =>
        Encoding.ASCII.GetString(System.IO.File.ReadAllBytes(library)).IndexOf(Tag + "\0", StringComparison.Ordinal) >= 0;
}

/// <summary>The .gnu.version_r section of a 64-bit little-endian ELF image (System V ABI, symbol versioning).</summary>
public static class ElfVersionNeeds
{
    private const uint VersionNeedsSection = 0x6ffffffe; // SHT_GNU_verneed
    private const ushort WeakFlag = 0x2;                  // VER_FLG_WEAK

    /// <summary>Sets VER_FLG_WEAK on every requirement named <paramref name="tag"/>; true if one was changed.</summary>
    /// <exception cref="InvalidDataException">The image is not a 64-bit little-endian ELF file.</exception>
    public static bool Weaken(byte[] image, string tag)
    {
        if (image.Length < 64 || image[0] != 0x7f || image[1] != 'E' || image[2] != 'L' || image[3] != 'F' || image[4] != 2
            || image[5] != 1)
            throw new InvalidDataException("not a 64-bit little-endian ELF file");
        long sections = BitConverter.ToInt64(image, 0x28);
        int sectionSize = BitConverter.ToUInt16(image, 0x3a), count = BitConverter.ToUInt16(image, 0x3c);
        bool changed = false;
        for (int i = 0; i < count; i++)
        {
            int section = checked((int)(sections + (long)i * sectionSize));
            if (BitConverter.ToUInt32(image, section + 4) != VersionNeedsSection) continue;
            int names = checked((int)(sections + BitConverter.ToUInt32(image, section + 0x28) * (long)sectionSize));
            changed |= WeakenIn(image, checked((int)BitConverter.ToInt64(image, section + 0x18)),
                checked((int)BitConverter.ToInt64(image, names + 0x18)), tag);
        }

        return changed;
    }

    private static bool WeakenIn(byte[] image, int need, int strings, string tag)
    {
        bool changed = false;
        while (true)
        {
            int entry = need + checked((int)BitConverter.ToUInt32(image, need + 8));
            for (int i = BitConverter.ToUInt16(image, need + 2); i > 0; i--)
            {
                ushort flags = BitConverter.ToUInt16(image, entry + 4);
                if ((flags & WeakFlag) == 0 && NameAt(image, strings + checked((int)BitConverter.ToUInt32(image, entry + 8))) == tag)
                {
                    BitConverter.GetBytes((ushort)(flags | WeakFlag)).CopyTo(image, entry + 4);
                    changed = true;
                }

                entry += checked((int)BitConverter.ToUInt32(image, entry + 12));
            }

            uint next = BitConverter.ToUInt32(image, need + 12);
            if (next == 0) return changed;
            need += checked((int)next);
        }
    }

    private static string NameAt(byte[] image, int offset) =>
        Encoding.ASCII.GetString(image, offset, Array.IndexOf(image, (byte)0, offset) - offset);
}
