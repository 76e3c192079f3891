using System.CommandLine;
using System.CommandLine.Parsing;
using System.Globalization;
using System.Numerics;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Client.Local;
using FedRLora.Silo.Trackers;

namespace FedRLora.Client.Commands;

/// <summary>Options that mean the same in several commands.</summary>
internal static class SharedOptions
{
    public static Option<bool> Json() => new("--json") { Description = "Write JSON for programs to standard output" };

    public static Option<bool> AllowDataChange() => new("--allow-data-change")
    {
        Description = "Go on although base, tokenizer or rows are not those that the run was made with; the change is recorded",
    };

    /// <summary>Values of the plan to change.</summary>
    public static Option<string[]> Set() => new("--set")
    {
        Description = "A value of the plan to change, as training.learningRate=1e-3 or "
            + "adapter.targetModules=[q_proj,v_proj]; repeat it",
        HelpName = "KEY=VALUE",
    };

    /// <summary>Whether a run in this process is seen over HTTP while it goes on.</summary>
    public static Option<bool> Dashboard() => new("--dashboard")
    {
        Description = "Show the run over HTTP on loopback while it goes on; the address that is printed lets one browser in",
    };

    /// <summary>The MLflow server that points go to.</summary>
    /// <param name="description">What it says of itself.</param>
    /// <param name="none">Whether it takes <c>none</c> too.</param>
    public static Option<string?> Mlflow(string description, bool none = false) => new("--mlflow")
    {
        Description = description,
        CustomParser = result =>
        {
            var address = result.Tokens[0].Value;
            if (none && address == RunDirectory.NoMlflow) return address;
            try
            {
                return MlflowServer.Parse(address).Address;
            }
            catch (BadInputException e)
            {
                result.AddError(e.Message);
                return null;
            }
        },
    };

    /// <summary>Of a run in this process that is taken up.</summary>
    public static Option<string?> MlflowOrNone() => Mlflow(
        "Send the run's points to this MLflow server, or to none; by default to the one that the run was sent to", none: true);

    /// <summary>Silos that run have their own.</summary>
    /// <exception cref="BadInputException">It is given for one.</exception>
    public static void RefuseMlflow(ParseResult parsed, Option<string?> mlflow)
    {
        if (parsed.GetValue(mlflow) is not null)
            throw new BadInputException(
                "--mlflow is for a run in this process; silos send what they coordinate with fedrlora silo --mlflow.");
    }

    /// <summary>A silo that runs has its lanes from its own start, and its control plane too.</summary>
    /// <exception cref="BadInputException">An option is given for one.</exception>
    public static void RefuseOfThisProcess(ParseResult parsed, WorkOptions work, Option<bool>? dashboard)
    {
        if (dashboard is not null && parsed.GetValue(dashboard))
            throw new BadInputException(
                "--dashboard is for a run in this process; silos that run are seen where they said so at their start.");
        work.RefuseOfThisProcess(parsed);
    }

    public static Option<string?> Model() => new("--model") { Description = "A Hugging Face model folder, or a GGUF file" };

    /// <summary>How a model's weights lie in memory, as a plan's <c>model.storage</c> says it.</summary>
    public static Option<WeightStorage> Storage()
    {
        string[] names = [.. Enum.GetValues<WeightStorage>().Select(static storage => storage.Word())];
        var option = new Option<WeightStorage>("--storage")
        {
            Description = "How the model's weights lie in memory: by default as its files have them; "
                + "bfloat16 and float16 round all matrices, "
                + "int8 and nf4 the linear layers to a byte or four bits",
        };
        option.AcceptOnlyFromAmong(names);
        return option;
    }

    public static Option<bool> AllowOtherBase() => new("--allow-other-base")
    {
        Description = "Use an adapter although it was trained on another base or storage; that is said",
    };

    public static Option<string?> Adapter() =>
        new("--adapter") { Description = "An adapter folder in PEFT's layout; without it the base alone" };

    /// <summary>A whole number of at least 1.</summary>
    public static Option<int?> Count(string name, string description) => Number(name, description, 1, int.MaxValue);

    /// <summary>A port.</summary>
    public static Option<int?> Port(string name, string description) => Number(name, description, 1, ushort.MaxValue);

    /// <summary>Ports; the option may be repeated.</summary>
    public static Option<int[]> Ports(string name, string description) => new(name)
    {
        Description = description,
        CustomParser = result => [.. result.Tokens.Select(token => Parse(result, name, token.Value, 1, (int)ushort.MaxValue) ?? 0)],
    };

    /// <summary>A number within bounds.</summary>
    public static Option<T?> Number<T>(string name, string description, T min, T max)
        where T : struct, INumber<T> =>
        new(name) { Description = description, CustomParser = result => Parse(result, name, result.Tokens[0].Value, min, max) };

    private static T? Parse<T>(ArgumentResult result, string name, string text, T min, T max)
        where T : struct, INumber<T>
    {
        if (T.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out var value) && value >= min && value <= max) return value;
        result.AddError(string.Create(CultureInfo.InvariantCulture,
            $"{name}: '{text}' is not {(typeof(T) == typeof(double) ? "a number" : "a whole number")} from {min} to {max}"));
        return null;
    }
}
