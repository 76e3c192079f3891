using System.Diagnostics.CodeAnalysis;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using System.Text.RegularExpressions;
using FedRLora.Abstractions;
using static TorchSharp.torch;

namespace FedRLora.Training.Devices;

/// <summary>
/// The libtorch of this process: the one that comes with the program, or one of the host, such as that of PyTorch's wheel, which the
/// variable <see cref="Variable"/> names by its folder.
/// </summary>
public static partial class Libtorch
{
    /// <summary>Names the folder of a host's libtorch.</summary>
    public const string Variable = "FEDRLORA_LIBTORCH";

    private const string Library = "libtorch.so", Processor = "libtorch_cpu.so", ForCuda = "libtorch_cuda.so";
    private const int ShownDigest = 12;

    private static readonly Lazy<string> Told = new(Tell);

    /// <summary>Why the library that the variable names was not loaded; null where it was, or where it names none.</summary>
    public static string? Problem { get; private set; }

    /// <summary>
    /// Its version; of a library that did not come with the program, with the first digits of the SHA-256 of its file. Loads it.
    /// </summary>
    public static string Version => Told.Value;

    // Before anything that would load another one. What has its name already is taken for it by the libraries that need it.
    [ModuleInitializer]
    [SuppressMessage("Usage", "CA2255",
        Justification = "Nothing later comes before the first tensor in every program that uses this library.")]
    internal static void Load()
    {
        if (Environment.GetEnvironmentVariable(Variable) is { Length: > 0 } folder) Problem = Load(folder, Own);
    }

    /// <summary>Loads a host's library; what is wrong with it, in a line, else null.</summary>
    /// <param name="folder">Where it lies.</param>
    /// <param name="own">Where the program's own would be.</param>
    internal static string? Load(string folder, IEnumerable<string> own)
    {
        var given = $"{Variable}: {BadInputException.Shown(folder)}";
        if (!OperatingSystem.IsLinux()) return $"{given}: a library of the host is loaded on Linux alone; leave the variable out";
        // TorchSharp loads the one beside the program by its path, and two of them in one process end it.
        if (own.Any(File.Exists))
            return $"{given}: this program came with a libtorch of its own; use the archive without one (no-libtorch), "
                + "or build with -p:Libtorch=none";
        // Where the libraries lie, or the folder of a wheel or an archive, which has them in lib.
        var file = ((string[])[Path.Combine(folder, Library), Path.Combine(folder, "lib", Library)]).FirstOrDefault(File.Exists);
        if (file is null)
            return $"{given}: holds no {Library}, nor does lib in it; give the folder of libtorch's libraries, "
                + "as torch/lib of PyTorch's wheel";
        try
        {
            NativeLibrary.Load(Path.GetFullPath(file));
            return null;
        }
        catch (Exception e) when (e is DllNotFoundException or BadImageFormatException)
        {
            return $"{given}: {Library} cannot be loaded: {e.Message.ReplaceLineEndings(" ")}";
        }
    }

    /// <summary>The version that stands beside a library; null where none does.</summary>
    /// <param name="folder">Where the libraries lie.</param>
    internal static string? VersionBeside(string folder)
    {
        // PyTorch's wheel has it in Python, libtorch's archive in a line by itself, both a folder above.
        var (python, archive) = (Path.Combine(folder, "..", "version.py"), Path.Combine(folder, "..", "build-version"));
        try
        {
            if (File.Exists(python)
                && PythonVersion().Match(File.ReadAllText(python)) is { Success: true } found) return found.Groups[1].Value;
            if (File.Exists(archive) && File.ReadAllText(archive).Trim() is { Length: > 0 and < 64 } line
                && Plain().IsMatch(line)) return line;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // It is told by its digest alone.
        }

        return null;
    }

    /// <summary>Whether it is a build that computes on GPUs too, where there is one. Loads it.</summary>
    internal static bool IsForGpus
    {
        get
        {
            _ = cuda.is_available(); // loads that part
            return LoadedFile(ForCuda) is not null;
        }
    }

    /// <summary>The address of a function that it exports; 0 where it has none of that name. Loads it.</summary>
    internal static nint ExportOf(string name)
    {
        _ = get_num_threads();
        return LoadedFile(Processor) is { } file && NativeLibrary.TryLoad(file, out var library)
            && NativeLibrary.TryGetExport(library, name, out var address) ? address : 0;
    }

    private static string Tell()
    {
        _ = get_num_threads(); // loads it
        if (LoadedFile(Processor) is not { } file || IsOurs(file)) return __version__;
        using var stream = File.OpenRead(file);
        var digest = Convert.ToHexStringLower(SHA256.HashData(stream))[..ShownDigest];
        return $"{VersionBeside(Path.GetDirectoryName(file)!) ?? "of unknown version"} of the host ({digest})";
    }

    private static string[] Own =>
        [Path.Combine(AppContext.BaseDirectory, Processor), Path.Combine(AppContext.BaseDirectory, "runtimes/linux-x64/native", Processor)];

    /// <summary>Where a library lies that the process has loaded; null where none is, or the system does not tell.</summary>
    /// <param name="name">How its file's name begins.</param>
    internal static string? LoadedFile(string name)
    {
        if (!OperatingSystem.IsLinux()) return null;
        return File.ReadLines("/proc/self/maps").Select(static line => line.Split(' ', 6, StringSplitOptions.RemoveEmptyEntries))
            .Where(static words => words.Length == 6).Select(static words => words[5].Trim())
            .FirstOrDefault(path => Path.GetFileName(path).StartsWith(name, StringComparison.Ordinal));
    }

    private static bool IsOurs(string file) => file.StartsWith(AppContext.BaseDirectory, StringComparison.Ordinal);

    [GeneratedRegex(@"^__version__\s*=\s*['""]([0-9A-Za-z.+-]{1,63})['""]", RegexOptions.Multiline)]
    private static partial Regex PythonVersion();

    [GeneratedRegex("^[0-9A-Za-z.+-]+$")]
    private static partial Regex Plain();
}
