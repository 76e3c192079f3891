namespace FedRLora.Federation.Aggregation;

/// <summary>
/// A client's update as it was sent, read once from its front to its end. What was read counts when <see cref="Finish"/> returns.
/// </summary>
public interface IUpdateReader : IAsyncDisposable
{
    /// <summary>Its tensors in the order in which they are read.</summary>
    IReadOnlyList<UpdateTensor> Tensors { get; }

    /// <summary>Reads the next elements, all of one tensor.</summary>
    /// <exception cref="Abstractions.BadInputException">Refuses the update.</exception>
    void Read(Span<float> values);

    /// <summary>Checks that what was read, which is everything, is what the client has sent.</summary>
    /// <exception cref="Abstractions.BadInputException">Refuses the update.</exception>
    void Finish();
}

/// <summary>A tensor of an update.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Shape">Sizes, outermost first; empty for a scalar.</param>
/// <param name="Count">Its elements.</param>
public readonly record struct UpdateTensor(string Name, IReadOnlyList<long> Shape, int Count);
