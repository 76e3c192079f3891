namespace FedRLora.Training.Data.Tokenizers;

/// <summary>Passes text on up to the first of some stop texts; what may be the beginning of one is held back until that is known.</summary>
internal sealed class StopTexts(IReadOnlyList<string> stops)
{
    private string _held = "";

    /// <summary>A stop text came; nothing is passed on any more.</summary>
    public bool Found { get; private set; }

    /// <summary>What can be passed on after a piece came.</summary>
    public string Add(string piece)
    {
        if (Found) return "";
        var text = _held + piece;
        var at = stops.Select(stop => text.IndexOf(stop, StringComparison.Ordinal)).Where(static at => at >= 0).DefaultIfEmpty(-1).Min();
        Found = at >= 0;
        var passed = Found ? at : text.Length - Beginning(text);
        _held = Found ? "" : text[passed..];
        return text[..passed];
    }

    /// <summary>What was held back.</summary>
    public string Rest() => _held;

    private int Beginning(string text)
    {
        var longest = Math.Min(text.Length, stops.Select(static stop => stop.Length - 1).DefaultIfEmpty(0).Max());
        for (var length = longest; length > 0; length--)
        {
            var end = text[^length..];
            if (stops.Any(stop => stop.Length > length && stop.StartsWith(end, StringComparison.Ordinal))) return length;
        }

        return 0;
    }
}
