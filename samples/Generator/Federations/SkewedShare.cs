namespace FedRLora.Generator.Federations;

/// <summary>A client of a federation on public tasks.</summary>
/// <param name="Id">Its id, and the name of its file.</param>
/// <param name="Task">The task.</param>
/// <param name="Kinds">Labels that most of its rows have, by their place in the task's labels in order of their letters; none for
/// all.</param>
internal sealed record SkewedShare(string Id, string Task, params int[] Kinds)
{
    /// <summary>Of so many rows in a line, the last has another label than the client's kinds.</summary>
    public const int OneOtherOf = 10;

    /// <summary>Whether a row at a place of the client's file may have this label.</summary>
    public bool Takes(int place, int label) =>
        Kinds.Length == 0 || Kinds.Contains(label) == (place % OneOtherOf < OneOtherOf - 1);
}
