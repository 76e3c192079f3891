using FedRLora.Abstractions;

namespace FedRLora.Training.Data.Chat.Jinja;

/// <summary>
/// A template of the Jinja subset that chat templates are written in, with the whitespace settings they expect. It reaches nothing but
/// the values it is given and ends within a bound on work, output and depth. Safe to share between threads.
/// </summary>
internal sealed class JinjaTemplate
{
    private const int MaxLength = 1 << 18;
    private const long BaseBudgetBytes = 24 << 20;
    private const int BudgetBytesPerInputCharacter = 64;
    private const int MaxMessageLength = 800;
    private readonly Func<int, string> _place;
    private readonly IReadOnlyList<Statement> _statements;

    private JinjaTemplate(IReadOnlyList<Statement> statements, Func<int, string> place) => (_statements, _place) = (statements, place);

    /// <summary>Reads a template.</summary>
    /// <param name="text">The template.</param>
    /// <param name="place">What an error calls a line of it, for example <c>chat_template.jinja:3</c>.</param>
    /// <exception cref="BadInputException">It is not valid; file and line are named.</exception>
    public static JinjaTemplate Parse(string text, Func<int, string> place)
    {
        if (text.Length > MaxLength)
            throw new BadInputException(
                $"{place(1)}: the template has {text.Length} characters, at most {MaxLength} are read; make it shorter");
        var line = 1;
        Parser? parser = null;
        try
        {
            parser = new Parser(Lexer.Read(text, ref line));
            return new(parser.Parse(), place);
        }
        catch (JinjaException problem)
        {
            throw Refusal(place(parser?.Line ?? line), problem);
        }
    }

    /// <summary>Runs it.</summary>
    /// <param name="variables">What it sees beside the functions.</param>
    /// <param name="inputLength">Characters of the conversation; more of them may cost more.</param>
    /// <param name="now">The time that it may write.</param>
    /// <returns>The text, and the places in it that <c>generation</c> blocks wrote.</returns>
    /// <exception cref="BadInputException">It cannot be run with these variables; file and line are named.</exception>
    public (string Text, IReadOnlyList<(int From, int To)> Generated) Run(
        IEnumerable<KeyValuePair<string, Value>> variables, long inputLength, DateTimeOffset now)
    {
        var budget = new Budget(BaseBudgetBytes + BudgetBytesPerInputCharacter * inputLength);
        var interpreter = new Interpreter(budget);
        try
        {
            return interpreter.Run(_statements, Functions.All(now, budget).Concat(variables));
        }
        catch (JinjaException problem)
        {
            throw Refusal(_place(interpreter.Line), problem);
        }
    }

    // Names and texts of the template may stand in it: one line, and not a long one.
    private static BadInputException Refusal(string place, JinjaException problem)
    {
        var message = problem.Message.ReplaceLineEndings(" ");
        return new($"{place}: {(message.Length > MaxMessageLength ? message[..MaxMessageLength] + "..." : message)}", problem);
    }
}
