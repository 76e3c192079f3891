using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Training.Inputs;
using FedRLora.Training.Models;

namespace FedRLora.Training.Adapters.Peft;

/// <summary>The frozen base that an adapter was trained on, as the metadata of its tensor file says.</summary>
/// <param name="Values">Digest of the numbers that were computed with, whatever file held them and however they were stored.</param>
/// <param name="Files">Digest of the files that held them.</param>
/// <param name="Storage">How they were stored, as a plan's <c>model.storage</c> says it.</param>
internal sealed record AdapterBase(string Values, string Files, string Storage)
{
    private const string ValuesKey = "fedrlora.base.values";
    private const string FilesKey = "fedrlora.base.files";
    private const string StorageKey = "fedrlora.base.storage";
    private const int ShownDigits = 12;

    /// <summary>As metadata of a safetensors file.</summary>
    public IReadOnlyDictionary<string, string> Metadata => new Dictionary<string, string>(StringComparer.Ordinal)
    {
        [ValuesKey] = Values, [FilesKey] = Files, [StorageKey] = Storage,
    };

    /// <summary>What the metadata of a file says; null where it says nothing, as that of another program.</summary>
    public static AdapterBase? Of(IReadOnlyDictionary<string, string> metadata) =>
        metadata.TryGetValue(ValuesKey, out var values) && metadata.TryGetValue(FilesKey, out var files)
        && metadata.TryGetValue(StorageKey, out var storage)
            ? new(values, files, storage)
            : null;

    /// <summary>The base of a model that is loaded.</summary>
    /// <param name="model">The model.</param>
    /// <param name="files">Digest of its files.</param>
    /// <param name="storage">How it is stored.</param>
    public static AdapterBase Of(CausalLanguageModel model, string files, WeightStorage storage) =>
        new(model.ValuesDigest, files, storage.Word());

    /// <summary>Digest of the files that a model's numbers lie in.</summary>
    /// <exception cref="BadInputException">The model cannot be read.</exception>
    public static string FilesOf(string model, CancellationToken cancellationToken = default)
    {
        var full = Path.GetFullPath(model);
        return new LocalInputs(Path.GetDirectoryName(full) ?? full).BaseOf(full, cancellationToken).Parts.Weights;
    }

    /// <summary>
    /// What is other about a model that the adapter is put on, as the end of "was trained on another base:"; null where it computes with
    /// the same numbers. They are looked at only where files or storage are others.
    /// </summary>
    /// <param name="model">The model.</param>
    /// <param name="files">Digest of its files.</param>
    /// <param name="storage">How it is stored.</param>
    public string? OtherThan(CausalLanguageModel model, string files, WeightStorage storage)
    {
        if ((files == Files && storage.Word() == Storage) || model.ValuesDigest == Values) return null;
        var (own, other) = (Values[..Math.Min(ShownDigits, Values.Length)], model.ValuesDigest[..ShownDigits]);
        return storage.Word() == Storage
            ? $"its numbers are {own}, those here {other}"
            : $"its numbers are {own} stored as {Storage}, those here {other} stored as {storage.Word()}";
    }

    /// <summary>Refuses an adapter on another base than its own, or says so where that is allowed.</summary>
    /// <param name="adapter">The adapter; one that does not know its base goes on any.</param>
    /// <param name="path">The model as it was given.</param>
    /// <param name="options">Its storage, and whether another base is allowed.</param>
    /// <param name="model">The model, asked for only where its files or storage are others.</param>
    /// <param name="hasStorage">Whether the caller's user can give a storage.</param>
    /// <returns>What is to be known, a line each.</returns>
    /// <exception cref="BadInputException">The base is another.</exception>
    public static IReadOnlyList<string> Check(PeftAdapter adapter, string path, BaseOptions options, Func<CausalLanguageModel> model,
        bool hasStorage = true)
    {
        if (adapter.Base is not { } own) return [];
        var files = FilesOf(path);
        if (files == own.Files && options.Storage.Word() == own.Storage) return [];
        if (own.OtherThan(model(), files, options.Storage) is not { } other) return [];
        var line = $"{adapter.Folder}: was trained on another base: {other}";
        return options.AllowOtherBase
            ? [line]
            : throw new BadInputException($"{line}; give its base with --model"
                + (hasStorage && options.Storage.Word() != own.Storage ? $" and --storage {own.Storage}" : "")
                + ", or use it on this one all the same with --allow-other-base");
    }
}
