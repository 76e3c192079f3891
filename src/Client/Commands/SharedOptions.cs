using System.CommandLine;

namespace FedRLora.Client.Commands;

/// <summary>Options that mean the same in several commands.</summary>
internal static class SharedOptions
{
    public static Option<bool> Json() => new("--json") { Description = "Write JSON for programs to standard output" };

    public static Option<string?> Model() => new("--model") { Description = "A Hugging Face model folder" };

    public static Option<string?> Adapter() => new("--adapter") { Description = "An adapter folder in PEFT's layout; without it the base alone" };

    /// <summary>A whole number of at least 1.</summary>
    public static Option<int?> Count(string name, string description)
    {
        var option = new Option<int?>(name) { Description = description };
        option.Validators.Add(result =>
        {
            if (result.Tokens is [{ Value: var text }] && int.TryParse(text, out var value) && value < 1) result.AddError($"{name}: {value} is less than 1.");
        });
        return option;
    }
}
