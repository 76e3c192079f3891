namespace FedRLora.Abstractions;

/// <summary>
/// Something the user gave is wrong: a plan, a file, a model folder. The message is one line that says what, where and what
/// to do; the CLI prints it without a stack trace and exits with 2.
/// </summary>
[GenerateSerializer, Alias("fedrlora.bad-input")]
public class BadInputException(string message, Exception? innerException = null) : Exception(message, innerException)
{
    private const int Longest = 200;

    /// <summary>A name from a file as a message can show it: one line and short, whatever a hostile file put into it.</summary>
    public static string Shown(string name)
    {
        var cut = name.Length > Longest ? name[..Longest] + "..." : name;
        return cut.Any(char.IsControl) ? string.Concat(cut.Select(static c => char.IsControl(c) ? ' ' : c)) : cut;
    }
}
