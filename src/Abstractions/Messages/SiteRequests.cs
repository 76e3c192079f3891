using FedRLora.Abstractions.Ports;

namespace FedRLora.Abstractions.Messages;

/// <summary>Which form of an adapter is asked of a site: <see cref="ExportForm"/> as it travels.</summary>
/// <param name="Nearest">The nearest form that does not depend on the input.</param>
/// <param name="Vllm">As vLLM loads it.</param>
/// <param name="PadRank">Ranks padded to the next one that vLLM accepts.</param>
[GenerateSerializer, Immutable, Alias("fedrlora.form-asked")]
public sealed record FormAsked(
    [property: Id(0)] bool Nearest = false, [property: Id(1)] bool Vllm = false, [property: Id(2)] bool PadRank = false)
{
    /// <summary>The form; the base is named as the plan names it.</summary>
    public ExportForm Form(string model) => new() { Nearest = Nearest, Vllm = Vllm, PadRank = PadRank, BaseModel = model };
}

/// <summary>A piece of a file that a site streams.</summary>
/// <param name="File">The file's name.</param>
/// <param name="Content">At most 256 kB, in order.</param>
/// <param name="SizeBytes">The whole file's size.</param>
[GenerateSerializer, Immutable, Alias("fedrlora.file-piece")]
public sealed record FilePiece([property: Id(0)] string File, [property: Id(1)] byte[] Content, [property: Id(2)] long SizeBytes);

/// <summary>A client's committed state, scored again.</summary>
/// <param name="ClientId">The client.</param>
/// <param name="Score">The score as of now; null where the client has no test rows.</param>
/// <param name="Failure">Why it could not be scored; null where it could.</param>
[GenerateSerializer, Immutable, Alias("fedrlora.client-scored")]
public sealed record ClientScored(
    [property: Id(0)] string ClientId, [property: Id(1)] ClientScore? Score, [property: Id(2)] string? Failure)
{
    /// <summary>How base and rows differ from what the round was made with, in one line each; empty where they do not.</summary>
    [Id(3)] public IReadOnlyList<string> Changes { get; init; } = [];
}

/// <summary>A prompt to a client's committed state.</summary>
[GenerateSerializer, Immutable, Alias("fedrlora.prompt")]
public sealed record Prompt
{
    /// <summary>The text to go on from.</summary>
    [Id(0)] public required string Text { get; init; }

    /// <summary>Whether it is a message to answer through the model's chat template.</summary>
    [Id(1)] public bool IsChat { get; init; }

    /// <summary>Bound on the continuation, in tokens.</summary>
    [Id(2)] public int MaxNewTokens { get; init; } = 64;

    /// <summary>0 always takes the most likely token.</summary>
    [Id(3)] public double Temperature { get; init; }

    /// <summary>Draws from the most likely tokens that together have this probability.</summary>
    [Id(4)] public double TopP { get; init; } = 1;

    /// <summary>Seed of the draws.</summary>
    [Id(5)] public ulong Seed { get; init; }

    /// <summary>Texts that end the continuation and are no part of it.</summary>
    [Id(6)] public IReadOnlyList<string> StopTexts { get; init; } = [];
}
