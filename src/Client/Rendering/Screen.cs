using System.CommandLine;
using FedRLora.ControlPlane.Views;
using Spectre.Console;
using Spectre.Console.Rendering;

namespace FedRLora.Client.Rendering;

/// <summary>Who reads what a command writes.</summary>
internal enum ScreenMode
{
    /// <summary>A person at a terminal: bars and tables that move.</summary>
    Terminal,

    /// <summary>A pipe or a file: plain lines.</summary>
    Plain,

    /// <summary>A program: JSON on standard output, nothing else.</summary>
    Json,
}

/// <summary>Where a command writes, and for whom.</summary>
internal sealed record Screen(ScreenMode Mode, TextWriter Output, TextWriter Error)
{
    public IAnsiConsole Console => field ??= AnsiConsole.Create(new AnsiConsoleSettings { Out = new AnsiConsoleOutput(Output) });

    /// <summary>Columns of the terminal; null where there is none.</summary>
    public int? Width => Mode == ScreenMode.Terminal ? Console.Profile.Width : null;

    /// <summary>Whether a table keeps its names and numbers whole on the terminal.</summary>
    public bool Fits(Table table)
    {
        var options = RenderOptions.Create(Console, Console.Profile.Capabilities);
        return ((IRenderable)table).Measure(options, int.MaxValue).Max <= Console.Profile.Width;
    }

    /// <summary>A terminal only where standard output is one.</summary>
    public static Screen Of(ParseResult parsed, bool json)
    {
        var (output, error) = (parsed.InvocationConfiguration.Output, parsed.InvocationConfiguration.Error);
        var mode = json ? ScreenMode.Json
            : ReferenceEquals(output, System.Console.Out) && !System.Console.IsOutputRedirected ? ScreenMode.Terminal
            : ScreenMode.Plain;
        return new(mode, output, error);
    }

    /// <summary>What the reader has to know beside the results: a line each on standard error, which no program reads as JSON.</summary>
    public void Warn(IEnumerable<string> notes)
    {
        foreach (var note in notes) Error.WriteLine($"warning: {note}");
    }

    /// <summary>What the reader may like to know, on standard error too.</summary>
    public void Note(string line) => Error.WriteLine($"note: {line}");

    /// <summary>The final table.</summary>
    /// <param name="table">The table.</param>
    /// <param name="folder">Where the results lie; null where none are written.</param>
    public void Show(FinalTable table, string? folder)
    {
        switch (Mode)
        {
            case ScreenMode.Terminal:
                Table[] pictures = [table.ToTable(), .. table.Tasks is { } tasks ? [tasks.ToTable()] : (Table[])[]];
                if (pictures.All(Fits))
                {
                    foreach (var picture in pictures) Console.Write(picture);
                    Output.Write(table.NoteText(Width));
                }
                else Output.Write('\n' + table.ToPlainText(Width));
                if (folder is not null) Output.WriteLine($"Results: {folder}");
                break;
            case ScreenMode.Plain:
                Output.Write('\n' + table.ToPlainText());
                Output.WriteLine(folder is null ? "" : $"\nresults: {folder}");
                break;
            case ScreenMode.Json:
                Output.WriteLine(System.Text.Json.JsonSerializer.Serialize(
                    new { Json.Schema, Final = table.Clients, table.Mean, Tasks = table.Tasks?.Rows, table.Notes, Folder = folder },
                    Json.Lines));
                break;
        }
    }
}
