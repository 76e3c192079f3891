namespace FedRLora.Abstractions;

/// <summary>A run has gone on, and what was to be read of a round is gone: whoever asks again is told of a later one.</summary>
[GenerateSerializer, Alias("fedrlora.round-left")]
public sealed class RoundLeftException(string message) : BadInputException(message);
