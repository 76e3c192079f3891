namespace FedRLora.Training.Data.Tokenizers.Models;

/// <summary>Spellings by their UTF-16 units; finds all that begin at a place in one walk.</summary>
internal sealed class PieceTrie
{
    public const int Root = 0;

    private readonly Dictionary<long, int> _steps = [];
    private readonly List<int> _ids = [-1];

    public PieceTrie(IReadOnlyDictionary<string, int> pieces)
    {
        foreach (var (piece, id) in pieces)
        {
            if (piece.Length == 0) continue;
            var node = Root;
            foreach (var unit in piece)
            {
                if (TryStep(ref node, unit)) continue;
                _steps.Add(Key(node, unit), _ids.Count);
                node = _ids.Count;
                _ids.Add(-1);
            }

            _ids[node] = id;
        }
    }

    public bool TryStep(ref int node, char unit)
    {
        if (!_steps.TryGetValue(Key(node, unit), out var next)) return false;
        node = next;
        return true;
    }

    /// <summary>Id of the piece that ends at a node, or -1.</summary>
    public int IdAt(int node) => _ids[node];

    private static long Key(int node, char unit) => ((long)node << 16) | unit;
}
