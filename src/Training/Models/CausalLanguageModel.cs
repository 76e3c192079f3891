using FedRLora.Training.Models.Weights;
using TorchSharp;
using static TorchSharp.torch;

namespace FedRLora.Training.Models;

/// <summary>What a model calls at each linear layer: the adapters are an argument of forward.</summary>
public interface ILayerAdapters
{
    /// <summary>
    /// Adapters look at a sequence as a whole: each goes through the model for itself and entire, without padding, a cache, or a prompt
    /// that texts share.
    /// </summary>
    bool SeesSequences => false;

    /// <summary>
    /// Adds the adapter's part. Called inside the dispose scope of one layer: what an adapter keeps longer than that it must
    /// move or detach itself.
    /// </summary>
    /// <param name="module">The linear layer, for example <c>model.layers.0.self_attn.q_proj</c>.</param>
    /// <param name="x">Input of the layer, <c>[.., InWidth]</c>.</param>
    /// <param name="y">Output of the frozen layer, <c>[.., OutWidth]</c>, bias included; not to be changed in place.</param>
    /// <returns>y plus the adapter's part, or <paramref name="y"/> itself where the module has no adapter.</returns>
    Tensor Adapt(string module, Tensor x, Tensor y);

    /// <summary>The same for an embedding: a linear layer whose input is one-hot.</summary>
    /// <param name="module">The embedding, for example <c>model.embed_tokens</c>.</param>
    /// <param name="ids">int64 <c>[Bsz, T]</c>.</param>
    /// <param name="y">Rows of the frozen table, <c>[Bsz, T, OutWidth]</c>, before any scaling; not to be changed in place.</param>
    Tensor AdaptEmbedding(string module, Tensor ids, Tensor y);
}

/// <summary>How a layer stores its weight.</summary>
public enum LayerKind
{
    /// <summary><c>[OutWidth, InWidth]</c>.</summary>
    Linear,

    /// <summary><c>[InWidth, OutWidth]</c>, as GPT-2's Conv1D.</summary>
    Conv1D,

    /// <summary><c>[InWidth, OutWidth]</c>: a row for each token id.</summary>
    Embedding,

    /// <summary><c>[OutWidth, InWidth]</c>, and "every linear layer" does not include it.</summary>
    LmHead,
}

/// <summary>A linear layer that can be adapted.</summary>
/// <param name="Module">Its name in the model, for example <c>model.layers.0.self_attn.q_proj</c>.</param>
/// <param name="InWidth">Size of its input.</param>
/// <param name="OutWidth">Size of its output.</param>
/// <param name="Kind">How its weight is stored.</param>
public sealed record LinearShape(string Module, int InWidth, int OutWidth, LayerKind Kind = LayerKind.Linear);

/// <summary>
/// A frozen decoder-only language model. Forward writes nothing: many threads may use one model, each with adapters of its own.
/// </summary>
public abstract class CausalLanguageModel : IDisposable
{
    private readonly FrozenParameters _parameters;
    private Dictionary<string, FrozenLinear>? _frozen;
    private string? _values;

    private protected CausalLanguageModel(ModelConfig config, FrozenParameters parameters) =>
        (Config, _parameters, Dtype) = (config, parameters, parameters.Dtype);

    /// <summary>Sizes and settings.</summary>
    public ModelConfig Config { get; }

    /// <summary>
    /// Parameters that are tensors of floats, by Hugging Face name; owned by the model, not to be replaced or written by users of a frozen
    /// model. Matrices in another form are not among them.
    /// </summary>
    public IReadOnlyDictionary<string, Tensor> Parameters => _parameters.Tensors;

    /// <summary>The adaptable linear layers in order of use; the LM head is not among them.</summary>
    public abstract IReadOnlyList<LinearShape> Linears { get; }

    /// <summary>The token embedding, V -> D.</summary>
    public abstract LinearShape Embedding { get; }

    /// <summary>The LM head, D -> V; where it is tied, its weight is the embedding's.</summary>
    public abstract LinearShape LmHead { get; }

    /// <summary>Everything an adapter can be on, in order of use.</summary>
    public IReadOnlyList<LinearShape> AdaptableLayers => [Embedding, .. Linears, LmHead];

    /// <summary>Where the parameters are.</summary>
    public Device Device => _parameters.Device;

    /// <summary>What is computed with: float32, or float64 where the parameters are.</summary>
    internal ScalarType Dtype { get; }

    /// <summary>Digest of what is computed with, from <see cref="Weights.ValuesDigest"/>; the first call reads every number.</summary>
    internal string ValuesDigest => LazyInitializer.EnsureInitialized(ref _values, () => Weights.ValuesDigest.Of(Config, _parameters));

    /// <inheritdoc cref="FrozenParameters.PartsOf"/>
    internal IEnumerable<Tensor> PartsOf(string name, long most) => _parameters.PartsOf(name, most);

    /// <summary>How the matrices are stored, with how many bytes each form takes.</summary>
    internal IReadOnlyDictionary<string, long> StoredBytes => _parameters.Matrices.Values
        .GroupBy(static matrix => matrix.Storage, StringComparer.Ordinal)
        .ToDictionary(static form => form.Key, static form => form.Sum(static matrix => matrix.SizeBytes), StringComparer.Ordinal);

    /// <summary>Hidden states after the final norm.</summary>
    /// <param name="inputIds">int64 <c>[Bsz, T]</c>; with the cache's tokens at most <see cref="ModelConfig.MaxPositions"/>.</param>
    /// <param name="attentionMask">
    /// int64 or bool <c>[Bsz, T]</c>, 1 at real tokens, all of them before any padding; null where every token is real. With padding
    /// on the right the causal mask alone hides it from real tokens; rows at padding positions carry no meaning.
    /// </param>
    /// <param name="adapters">Adds to the linear layers; null for the frozen model.</param>
    /// <param name="hiddenStates">
    /// Receives the embeddings, the output of each layer but the last, and the result: Layers + 1 tensors, in the caller's scope.
    /// </param>
    /// <param name="cache">The tokens before these, which it then includes; null where these are the first. Not for training.</param>
    /// <returns><c>[Bsz, T, D]</c>, in the caller's dispose scope.</returns>
    public Tensor Hidden(
        Tensor inputIds, Tensor? attentionMask, ILayerAdapters? adapters, List<Tensor>? hiddenStates = null, KeyValueCache? cache = null)
    {
        if (cache is not null || attentionMask is not null) RequireParts(adapters);
        var first = cache?.Length ?? 0;
        CheckInput(inputIds, attentionMask, first);
        using var scope = NewDisposeScope();
        var pass = new PlainPass(Config, inputIds, adapters, cache, HasRotary, Dtype);
        var x = Embed(pass);
        for (var layer = 0; layer < Config.Layers; layer++)
        {
            var next = LayerOf(layer, x, pass);
            if (hiddenStates is null) x.Dispose(); // what the backward pass needs of it is kept by the graph
            else hiddenStates.Add(x.MoveToOuterDisposeScope());
            x = next;
        }

        x = FinalNorm(x, pass);
        hiddenStates?.Add(x);
        cache?.Advance(inputIds.shape[1]);
        return x.MoveToOuterDisposeScope();
    }

    /// <summary>
    /// The same for prompts and their tails, each prompt once: <c>[M, D]</c>, in the caller's dispose scope. Not for training.
    /// </summary>
    /// <param name="prompts">At most <see cref="ModelConfig.MaxPositions"/> tokens in a text.</param>
    /// <param name="adapters">As above.</param>
    internal Tensor Hidden(SharedPrompts prompts, ILayerAdapters? adapters)
    {
        if (prompts.Longest > Config.MaxPositions)
            throw new ArgumentException($"The longest text has {prompts.Longest} tokens, the model takes {Config.MaxPositions}.");
        if (prompts.Ids.device_type == DeviceType.CPU) CheckIds(prompts.Ids);
        RequireParts(adapters);
        using var scope = NewDisposeScope();
        var pass = new SharedPromptPass(Config, prompts, adapters, HasRotary, Dtype);
        return FinalNorm(BeforeFinalNorm(pass), pass)[0].MoveToOuterDisposeScope();
    }

    /// <summary>What goes into <see cref="FinalNorm"/>, in the caller's dispose scope.</summary>
    internal Tensor BeforeFinalNorm(ForwardPass pass)
    {
        using var scope = NewDisposeScope();
        var x = Embed(pass);
        for (var layer = 0; layer < Config.Layers; layer++)
        {
            var next = LayerOf(layer, x, pass);
            x.Dispose();
            x = next;
        }

        return x.MoveToOuterDisposeScope();
    }

    /// <summary>The LM head; apply it only to rows whose logits are used.</summary>
    /// <param name="hidden"><c>[.., D]</c>.</param>
    /// <param name="adapters">Adds to the LM head; null for the frozen model.</param>
    /// <returns><c>[.., V]</c>.</returns>
    public Tensor LogitsOf(Tensor hidden, ILayerAdapters? adapters)
    {
        var logits = Frozen(LmHead).Multiply(hidden);
        return adapters?.Adapt(LmHead.Module, hidden, logits) ?? logits;
    }

    /// <summary>The frozen weight of an adaptable layer, as its kind says; a new tensor where it is not stored as floats.</summary>
    /// <exception cref="KeyNotFoundException">The model has no such layer.</exception>
    public Tensor WeightOf(LinearShape layer) => MatrixOf(layer) switch
    {
        FloatMatrix floats => floats.Values,
        { IsTransposed: true } matrix => matrix.Whole(Dtype).t(),
        var matrix => matrix.Whole(Dtype),
    };

    /// <summary>The frozen bias of an adaptable layer, <c>[OutWidth]</c>; null where it has none.</summary>
    public Tensor? BiasOf(LinearShape layer) => Parameters.GetValueOrDefault(layer.Module + ".bias");

    /// <inheritdoc/>
    public void Dispose()
    {
        _parameters.Dispose();
        GC.SuppressFinalize(this);
    }

    /// <summary>Positions are angles, not rows of a table.</summary>
    internal virtual bool HasRotary => true;

    /// <summary>The norm after the last layer.</summary>
    internal abstract Tensor FinalNorm(Tensor x, ForwardPass pass);

    /// <summary>The token embeddings.</summary>
    private protected virtual Tensor Embed(ForwardPass pass) => pass.Embedding(Embedding, MatrixOf(Embedding));

    /// <summary>One layer.</summary>
    /// <param name="layer">Its index.</param>
    /// <param name="x"><c>[.., D]</c>.</param>
    /// <param name="pass">Computes it.</param>
    private protected abstract Tensor Layer(int layer, Tensor x, ForwardPass pass);

    /// <summary>A frozen linear layer of the model.</summary>
    internal FrozenLinear Frozen(LinearShape layer) => new(layer, MatrixOf(layer), BiasOf(layer));

    private FrozenMatrix MatrixOf(LinearShape layer) => _parameters.Matrices[
        (Config.TieWordEmbeddings && layer.Kind == LayerKind.LmHead ? Embedding.Module : layer.Module) + ".weight"];

    /// <summary>A frozen linear layer of the model, by its name.</summary>
    private protected FrozenLinear Frozen(string module) => LazyInitializer.EnsureInitialized(
        ref _frozen, () => Linears.ToDictionary(static layer => layer.Module, Frozen, StringComparer.Ordinal))[module];

    /// <summary>Layer norm over D with the module's weight and bias.</summary>
    private protected Tensor LayerNorm(string module, Tensor x, ForwardPass pass) =>
        pass.LayerNorm(x, Parameters[module + ".weight"], Parameters[module + ".bias"], Config.NormEpsilon);

    private Tensor LayerOf(int layer, Tensor x, ForwardPass pass) => pass.Layer(layer, x, input => Layer(layer, input, pass));

    // What adapters that see sequences would add to a part of a text is not what they add to it.
    private static void RequireParts(ILayerAdapters? adapters)
    {
        if (adapters?.SeesSequences == true)
            throw new ArgumentException("The adapters see sequences: give each whole, without padding, a cache or a shared prompt.");
    }

    /// <summary>Checks what would otherwise end in native code.</summary>
    /// <exception cref="ArgumentException">
    /// Wrong shape or type, too long, an id outside the vocabulary, or padding before a real token.
    /// </exception>
    private void CheckInput(Tensor inputIds, Tensor? attentionMask, long first)
    {
        if (inputIds.dtype != ScalarType.Int64 || inputIds.dim() != 2)
            throw new ArgumentException($"Input ids are {inputIds.dtype} [{string.Join(", ", inputIds.shape)}], expected Int64 [Bsz, T].");
        if (inputIds.shape[1] > Config.MaxPositions - first)
            throw new ArgumentException($"The sequence has {first + inputIds.shape[1]} tokens, the model takes {Config.MaxPositions}.");
        if (attentionMask is not null && !attentionMask.shape.AsSpan().SequenceEqual(inputIds.shape))
            throw new ArgumentException(
                $"The attention mask is [{string.Join(", ", attentionMask.shape)}], the input [{string.Join(", ", inputIds.shape)}].");

        // On another device, looking at values would stall it.
        if (inputIds.device_type == DeviceType.CPU) CheckIds(inputIds);
        if (attentionMask is { device_type: DeviceType.CPU } && attentionMask.shape[1] > 1) CheckPadding(attentionMask);
    }

    private void CheckIds(Tensor inputIds)
    {
        foreach (var id in inputIds.data<long>())
        {
            if (id < 0 || id >= Config.VocabularySize)
                throw new ArgumentException($"Token id {id} is outside the model's vocabulary of {Config.VocabularySize}.");
        }
    }

    private static void CheckPadding(Tensor attentionMask)
    {
        using var scope = NewDisposeScope();
        var real = attentionMask.to(ScalarType.Int8);
        var rises = real.narrow(1, 1, real.shape[1] - 1).gt(real.narrow(1, 0, real.shape[1] - 1));
        if (rises.any().item<bool>())
            throw new ArgumentException("The attention mask has padding before a real token; padding belongs on the right.");
    }
}
