using FedRLora.Training.Devices;
using static TorchSharp.torch;

namespace FedRLora.Training.Adapters.Algebra;

/// <summary>The rows of members that lie side by side, padded at the end to one number.</summary>
/// <param name="Count">m: rows of a member, padding included.</param>
/// <param name="Real">How many of each member's rows are real; the others must not be seen by what counts, averages or penalizes.</param>
/// <param name="Sequences">Where each member's sequences begin and how long they are, in its own rows.</param>
internal sealed record MemberRows(int Count, IReadOnlyList<int> Real, IReadOnlyList<IReadOnlyList<(int Start, int Length)>> Sequences)
{
    /// <summary>Whole sequences of one member, one after another.</summary>
    public static MemberRows Whole(int sequences, int length) =>
        new(sequences * length, [sequences * length], [[.. Enumerable.Range(0, sequences).Select(number => (number * length, length))]]);

    /// <summary>1 at real rows that another of their sequence follows, else 0: <c>[G, m]</c>.</summary>
    public Tensor ButLast(ScalarType dtype, Device device)
    {
        var marks = new float[Real.Count, Count];
        foreach (var (member, sequences) in Sequences.Index())
            foreach (var (start, length) in sequences)
                for (var row = start; row < start + length - 1; row++) marks[member, row] = 1;
        return device.To(tensor(marks, ScalarType.Float32, CPU).to(dtype));
    }

    /// <summary>What the rows are multiplied with for the mean of each sequence, 0 for padding: <c>[G, S, m]</c>.</summary>
    public Tensor Means(ScalarType dtype, Device device)
    {
        var factors = new double[Real.Count, Math.Max(1, Sequences.Max(static own => own.Count)), Count];
        foreach (var (member, sequences) in Sequences.Index())
            foreach (var (number, (start, length)) in sequences.Index())
                for (var row = start; row < start + length; row++) factors[member, number, row] = 1.0 / length;
        // Into libtorch's own memory, which begins at a multiple of 64 bytes: a product's order of addition may depend on where it begins.
        return device.To(tensor(factors, ScalarType.Float64, CPU).to(dtype, copy: true));
    }

    /// <summary>The number of each row's sequence among its member's, 0 for padding: int64 <c>[G, m]</c>.</summary>
    public Tensor SequenceOfRows(Device device)
    {
        var numbers = new long[Real.Count, Count];
        foreach (var (member, sequences) in Sequences.Index())
            foreach (var (number, (start, length)) in sequences.Index())
                for (var row = start; row < start + length; row++) numbers[member, row] = number;
        return device.To(tensor(numbers, ScalarType.Int64, CPU));
    }

    /// <summary>1 at real rows, else 0: <c>[G, m]</c>.</summary>
    public Tensor Mask(ScalarType dtype, Device device) => stack([.. Real.Select(real =>
        real == Count ? ones([Count], dtype, device) : cat([ones([real], dtype, device), zeros([Count - real], dtype, device)]))]);
}

/// <summary>What training asks of a mix beside its result; in evaluation nobody asks.</summary>
/// <param name="Tasks">The number of each member's task, in the ordinal order of the plan's tasks.</param>
/// <param name="Layers">How many layers are adapted.</param>
internal sealed record MixTraining(IReadOnlyList<int> Tasks, int Layers)
{
    private readonly List<Tensor> _penalties = [];
    private readonly Dictionary<string, Tensor> _counts = new(StringComparer.Ordinal);

    /// <summary>What is added to each member's loss, <c>[G]</c> each.</summary>
    public IReadOnlyList<Tensor> Penalties => _penalties;

    /// <summary>By role, what each member's rows used, <c>[G, k]</c>; no gradient.</summary>
    public IReadOnlyDictionary<string, Tensor> Counts => _counts;

    /// <summary>Adds to each member's loss.</summary>
    /// <param name="perMember"><c>[G]</c>, its weight in the objective included; padding must have no part in it.</param>
    public void Penalize(Tensor perMember) => _penalties.Add(perMember);

    /// <summary>Counts for a tensor that moves by counts.</summary>
    /// <param name="role">The tensor.</param>
    /// <param name="perMember"><c>[G, k]</c>, of real rows alone.</param>
    public void Count(string role, Tensor perMember) => _counts.Add(role, perMember);

    /// <summary>What a gate counts beside tensors that move by counts: the rows whose first choice each head was.</summary>
    public const string FirstChoices = "first choices";
}

/// <summary>What a mix may know beside numbers.</summary>
/// <param name="scaling">s of the layer.</param>
/// <param name="rows">Which rows there are.</param>
/// <param name="draw">The next hidden masks, <c>[G, m, 1 or N, k]</c> for a width k; null where nothing is dropped there.</param>
internal sealed class MixContext(double scaling, MemberRows rows, Func<long, Tensor>? draw = null)
{
    private Dictionary<string, Tensor> _common = new(StringComparer.Ordinal);

    /// <summary>s of the layer.</summary>
    public double Scaling => scaling;

    /// <summary>Which rows are real, and where sequences begin and end.</summary>
    public MemberRows Rows => rows;

    /// <summary>Takes penalties and counts; null in evaluation, and for the frozen start of an anchored method.</summary>
    public MixTraining? Training { get; init; }

    /// <summary>The nearest static form is asked for: heads count alike, whatever the input.</summary>
    public bool IsUniform { get; init; }

    /// <summary>Gives the product of a slot's rows with the input in float64, <c>[G, m, k]</c>; null where there is none.</summary>
    public Func<string, Tensor>? Exactly { private get; init; }

    /// <summary>What came down by a slot that decides, in float64 and without a gradient: <c>[G, m, k]</c>.</summary>
    public Tensor Exact(string slot, Narrow z)
    {
        using var inference = no_grad();
        return Exactly?.Invoke(slot) ?? z[slot].squeeze(2).detach().to(ScalarType.Float64);
    }

    /// <summary>The same where nothing is dropped.</summary>
    public MixContext Undropped => new(scaling, rows) { IsUniform = IsUniform, _common = _common };

    /// <summary>What a mix and that of its frozen start have in common, computed once: a gate's weights.</summary>
    public Tensor Common(string what, Func<Tensor> compute) =>
        _common.TryGetValue(what, out var known) ? known : _common[what] = compute();

    /// <summary>Dropout between the factors.</summary>
    /// <param name="z"><c>[G, m, 1 or N, k]</c>.</param>
    /// <returns>The same, with a mask for each head where the plan has one for each.</returns>
    public Tensor Drop(Tensor z) => draw is null ? z : z * draw(z.shape[^1]).to(z.dtype);

    /// <summary>For a method without a token.</summary>
    public static MixContext WithoutTokens(double scaling, int rows) => new(scaling, MemberRows.Whole(1, rows)) { IsUniform = true };
}
