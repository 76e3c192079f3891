using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;

namespace FedRLora.ControlPlane.Http;

/// <summary>What all bodies have in common.</summary>
internal static class Bodies
{
    /// <summary>A list of texts holds texts alone.</summary>
    /// <exception cref="BadInputException">It holds a null.</exception>
    public static void RequireTexts(string key, IReadOnlyList<string>? texts)
    {
        if (texts?.Any(static text => (string?)text is null) == true) throw new BadInputException($"{key}: null is not a text");
    }
}

/// <summary>The body of a call that says nothing.</summary>
public sealed record NothingSaid;

/// <summary>A run to begin.</summary>
/// <param name="Plan">The plan's text, YAML.</param>
/// <param name="Run">The run's name; by default the plan's.</param>
/// <param name="LocalOnly">Whether the local-only reference runs too, where the plan asks for it.</param>
public sealed record SubmitBody(string Plan, string? Run = null, bool LocalOnly = true);

/// <summary>What a resumed run may go on with.</summary>
/// <param name="AllowEngineChange">Another engine.</param>
/// <param name="AllowDataChange">Another base and other rows.</param>
public sealed record ResumeBody(bool AllowEngineChange = false, bool AllowDataChange = false);

/// <summary>More rounds.</summary>
/// <param name="Rounds">Rounds of the whole run.</param>
/// <param name="AllowDataChange">Whether another base and other rows are accepted.</param>
public sealed record ExtendBody(int Rounds, bool AllowDataChange = false);

/// <summary>A run to begin where a round of another ended.</summary>
/// <param name="Round">The committed round.</param>
/// <param name="Run">The new run's name.</param>
/// <param name="Plan">Its plan; by default the other run's.</param>
/// <param name="Set">Values of the plan to change, as <c>training.learningRate=1e-3</c>.</param>
/// <param name="AllowDataChange">Whether another base and other rows are accepted.</param>
public sealed record ForkBody(
    int Round, string Run, string? Plan = null, IReadOnlyList<string>? Set = null, bool AllowDataChange = false);

/// <summary>Clients to score again.</summary>
/// <param name="Clients">The clients; by default all.</param>
/// <param name="Task">The task whose clients they are; by default any.</param>
public sealed record EvaluateBody(IReadOnlyList<string>? Clients = null, string? Task = null);

/// <summary>A prompt.</summary>
/// <param name="Prompt">The text to go on from.</param>
/// <param name="Chat">Whether it is a message to answer through the model's chat template.</param>
/// <param name="MaxNewTokens">Bound on the continuation.</param>
/// <param name="Temperature">0 always takes the most likely token.</param>
/// <param name="TopP">Draws from the most likely tokens that together have this probability.</param>
/// <param name="Seed">Seed of the draws.</param>
/// <param name="Stop">Texts that end the continuation and are no part of it.</param>
public sealed record GenerateBody(
    string Prompt, bool Chat = false, int MaxNewTokens = 64, double Temperature = 0, double TopP = 1, ulong Seed = 0,
    IReadOnlyList<string>? Stop = null)
{
    /// <summary>As it travels to the site.</summary>
    /// <exception cref="BadInputException">A value is out of its range.</exception>
    public Abstractions.Messages.Prompt Prompted()
    {
        if (MaxNewTokens is < 1 or > 1_000_000) throw new BadInputException($"maxNewTokens: {MaxNewTokens} is not from 1 to 1000000");
        if (!(Temperature is >= 0 and <= 100)) throw new BadInputException($"temperature: {Temperature} is not from 0 to 100");
        if (!(TopP is > 0 and <= 1)) throw new BadInputException($"topP: {TopP} is not above 0 and at most 1");
        Bodies.RequireTexts("stop", Stop);
        if (Stop?.Contains("") == true) throw new BadInputException("stop: a text of at least one character is needed");
        return new()
        {
            Text = Prompt, IsChat = Chat, MaxNewTokens = MaxNewTokens, Temperature = Temperature, TopP = TopP, Seed = Seed,
            StopTexts = Stop ?? [],
        };
    }
}

/// <summary>What was done to a run.</summary>
/// <param name="Schema">The version of the schema.</param>
/// <param name="Run">The run.</param>
/// <param name="Status">Where it stands now.</param>
/// <param name="Waits">What it waits for: sites of its plan that no silo serves, a line each.</param>
public sealed record Steered(int Schema, string Run, string Status, IReadOnlyList<string> Waits);
